#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/philox.h"
#include "data/dataset.h"

// Everything is integer arithmetic, so the bytes are the same on every machine. Lengths are in
// units of 1/16 pixel.

namespace stagecoach {
namespace {

constexpr int kSide = 32;  // pixels
constexpr int kUnit = 16;  // units per pixel
constexpr int kClassCount = 10;
constexpr std::array<const char*, kClassCount> kClasses = {
    "disc", "ring",         "square",           "triangle",         "cross",
    "dots", "checkerboard", "vertical stripes", "diagonal stripes", "horizontal stripes"};
constexpr int kNoise = 12;  // added to a pixel: uniform in [-kNoise, kNoise]

// RandomStream::layer tells what the numbers of an image are for.
enum Purpose : std::uint32_t { kLabels, kDrawing, kPixelNoise };

RandomStream stream_of(std::uint64_t seed, Split split, Purpose purpose, std::int64_t sample) {
  return {.seed = seed,
          .use = RandomUse::kSyntheticData,
          .layer = purpose,
          .step = split == Split::kTrain ? 0u : 1u,
          .sample = static_cast<std::uint32_t>(sample)};
}

// Numbers of one stream, one after another.
class Draws {
 public:
  explicit Draws(const RandomStream& stream) : stream_(stream) {}
  // In [low, high]; the few numbers asked for here make the bias of multiply-shift negligible.
  int between(int low, int high) {
    const auto count = static_cast<std::uint64_t>(high - low) + 1;
    return low + static_cast<int>(stream_.word(next_++) * count >> 32);
  }

 private:
  RandomStream stream_;
  std::uint64_t next_ = 0;
};

// Every ten images in a row hold every class once, in random order: balanced, and label i is known
// without the labels before it.
std::array<std::uint8_t, kClassCount> labels_of_ten(std::uint64_t seed, Split split,
                                                    std::int64_t ten) {
  Draws draws(stream_of(seed, split, kLabels, ten));
  std::array<std::uint8_t, kClassCount> labels;
  std::iota(labels.begin(), labels.end(), std::uint8_t{0});
  for (int i = kClassCount - 1; i > 0; --i) std::swap(labels[i], labels[draws.between(0, i)]);
  return labels;
}

// What is drawn, and where.
struct Figure {
  int label = 0;
  int x = 0, y = 0;       // centre of a shape; phase of a texture
  int radius = 0;         // of a shape: half its side
  int period = 0;         // of a texture
  bool mirrored = false;  // triangles point down, diagonals fall
};

Figure draw_figure(int label, Draws& draws) {
  Figure figure{.label = label};
  figure.radius = draws.between(6 * kUnit, 13 * kUnit);
  const int last = kSide * kUnit - figure.radius;
  figure.x = draws.between(figure.radius, last);
  figure.y = draws.between(figure.radius, last);
  figure.period = draws.between(5 * kUnit, 10 * kUnit);
  figure.mirrored = draws.between(0, 1) == 1;
  return figure;
}

// Whether the point is on the light half of stripes.
bool on_stripe(int position, int period) {
  return position % period < period / 2;
}

// Whether the point (x, y) of the image belongs to the figure's foreground.
bool covers(const Figure& figure, int x, int y) {
  const int dx = std::abs(x - figure.x), dy = std::abs(y - figure.y);
  const int r = figure.radius, period = figure.period;
  const int phase_x = x + figure.x, phase_y = y + figure.y;
  switch (figure.label) {
    case 0:
      return dx * dx + dy * dy <= r * r;
    case 1:  // the hole has 5/8 of the radius
      return dx * dx + dy * dy <= r * r && 64 * (dx * dx + dy * dy) >= 25 * r * r;
    case 2:
      return std::max(dx, dy) <= r * 7 / 8;
    case 3: {  // from the tip: as wide as high
      const int from_tip = (figure.mirrored ? figure.y - y : y - figure.y) + r;
      return from_tip >= 0 && from_tip <= 2 * r && 2 * dx <= from_tip;
    }
    case 4:
      return std::min(dx, dy) <= r / 4 && std::max(dx, dy) <= r;
    case 5: {
      const int u = phase_x % period - period / 2, v = phase_y % period - period / 2;
      return 9 * (u * u + v * v) <= period * period;
    }
    case 6:
      return on_stripe(phase_x, period) != on_stripe(phase_y, period);
    case 7:
      return on_stripe(phase_x, period);
    case 8: {  // sqrt(2) times the period along an axis is the period across the stripes
      const int across = figure.mirrored ? x + y : x - y + kSide * kUnit;
      return on_stripe(across + figure.x, period * 181 / 128);
    }
    default:
      return on_stripe(phase_y, period);
  }
}

void draw_image(std::uint64_t seed, Split split, std::int64_t i, int label, std::uint8_t* pixels) {
  Draws draws(stream_of(seed, split, kDrawing, i));
  const Figure figure = draw_figure(label, draws);
  std::array<int, 3> background, foreground;
  for (int c = 0; c < 3; ++c) {
    background[c] = draws.between(0, 255);
    // Around the circle of 256 values by 64 to 192: at least 64 apart, and every colour is as
    // likely in front as behind, so the mean colour says nothing about the class.
    foreground[c] = (background[c] + draws.between(64, 192)) % 256;
  }
  const RandomStream noise = stream_of(seed, split, kPixelNoise, i);
  std::uint32_t index = 0;
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x, ++index) {
      const bool inside = covers(figure, x * kUnit + kUnit / 2, y * kUnit + kUnit / 2);
      // A byte of the pixel's word for each channel; a block serves four pixels.
      const std::uint32_t word = noise.word(index);
      for (int c = 0; c < 3; ++c) {
        const int byte = static_cast<int>(word >> (8 * c) & 255);
        const int value = (inside ? foreground : background)[c] + byte * (2 * kNoise + 1) / 256;
        pixels[c * kSide * kSide + static_cast<int>(index)] =
            static_cast<std::uint8_t>(std::clamp(value - kNoise, 0, 255));
      }
    }
  }
}

}  // namespace

Dataset make_synthetic(std::uint64_t seed, Split split, std::int64_t images) {
  STAGECOACH_CHECK(images >= 0 && images <= std::numeric_limits<std::int32_t>::max(),
                   "make_synthetic", "a number of images in [0, 2^31)", fmt::format("{}", images));
  Dataset dataset;
  dataset.name = "synthetic";
  dataset.source = fmt::format("drawn from seed {}", seed);
  dataset.classes.assign(kClasses.begin(), kClasses.end());
  dataset.labels.resize(images);
  dataset.pixels.resize(images * dataset.image_bytes());
  std::array<std::uint8_t, kClassCount> labels{};
  for (std::int64_t i = 0; i < images; ++i) {
    if (i % kClassCount == 0) labels = labels_of_ten(seed, split, i / kClassCount);
    dataset.labels[i] = labels[i % kClassCount];
    draw_image(seed, split, i, labels[i % kClassCount], &dataset.pixels[i * dataset.image_bytes()]);
  }
  return dataset;
}

}  // namespace stagecoach
