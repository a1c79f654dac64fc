// draw_schedule FILE [FILE.svg]: checks the schedule in a file, replays it with F = B = W = 1, and
// draws it.
#include <fstream>
#include <iostream>

#include "stagecoach/schedule.h"

int main(int argc, char** argv) {
  using namespace stagecoach;
  if (argc < 2) {
    std::cerr << "usage: draw_schedule FILE [FILE.svg]\n";
    return 2;
  }
  try {
    const Program program = check(read_schedule(argv[1]));
    SimulationCosts costs;
    costs.stages.resize(program.stages());
    const Simulation simulation = simulate(program, costs, BufferLimit::kNone);
    std::cout << program.name() << ": " << program.ranks() << " ranks, makespan "
              << simulation.makespan << ", bubble " << simulation.bubble() << '\n'
              << draw_ascii(simulation, 120, 16).text;
    if (argc > 2) {
      std::ofstream(argv[2]) << draw_svg({timeline_of(simulation, program.name())}, argv[1]);
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
