#include "pipeline/picture/svg.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "core/error.h"
#include "core/text.h"

namespace stagecoach {
namespace {

using enum TraceKind;

// Pixels.
constexpr double kMargin = 14, kLabelWidth = 62, kLeft = kMargin + kLabelWidth;
constexpr double kRow = 26, kBox = 22, kStrip = 6, kTitle = 26, kGap = 10;
constexpr double kLegend = 26, kAxis = 52, kCaptionLine = 17;
constexpr double kDigit = 6.4;  // at 11 px
constexpr std::size_t kCaptionCharacters = 150;
// How much white is in the boxes of a rank's first stage, its second, ...
constexpr std::array<double, 4> kWhite = {0, 0.45, 0.65, 0.78};
constexpr double kLegendBox = 14;

// Okabe and Ito's colours, which colour-blind readers tell apart.
struct Style {
  TraceKind kind, other;
  const char* name;  // the class of the boxes
  const char* legend;
  const char* fill;
  const char* ink;
};
constexpr std::array<Style, 8> kStyles = {{
    {kForward, kForward, "F", "F: forward", "#0072b2", "#ffffff"},
    {kBackwardInput, kBackwardInput, "B", "B: backward, input", "#3fbf97", "#10241d"},
    {kBackwardWeight, kBackwardWeight, "W", "W: backward, weights", "#f0a830", "#2b1d00"},
    {kBackward, kBackward, "BW", "BW: backward", "#009e73", "#ffffff"},
    {kRecompute, kRecompute, "R", "R: forward again", "#56b4e9", "#08222f"},
    {kSend, kReceive, "C", "send, receive", "#cc79a7", "#2b0a1c"},
    {kOptimizer, kOptimizer, "O", "optimizer", "#8c8c8c", "#111111"},
    {kReduce, kReduce, "S", "sum over replicas", "#6a3d9a", "#ffffff"},
}};

// -1: not drawn.
int style_of(TraceKind kind) {
  for (std::size_t i = 0; i < kStyles.size(); ++i) {
    if (kStyles[i].kind == kind || kStyles[i].other == kind) return static_cast<int>(i);
  }
  return -1;
}

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\n':
      case '\t':
        result += ' ';
        break;
      default:
        result += c;
    }
  }
  return result;
}

// At blanks, into lines of at most kCaptionCharacters where words allow it.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = text.size();
    if (end - at > kCaptionCharacters) {
      const std::size_t blank = text.rfind(' ', at + kCaptionCharacters);
      if (blank != std::string::npos && blank > at)
        end = blank;
      else
        end = std::min(text.find(' ', at), text.size());
    }
    lines.push_back(text.substr(at, end - at));
    at = end < text.size() ? end + 1 : end;
  }
  return lines;
}

double first_start(const Timeline& timeline) {
  double first = timeline.events.empty() ? 0 : timeline.events.front().start;
  for (const TraceEvent& event : timeline.events) first = std::min(first, event.start);
  return first;
}

double duration(const Timeline& timeline) {
  const double first = first_start(timeline);
  double last = first;
  for (const TraceEvent& event : timeline.events) last = std::max(last, event.end);
  return last - first;
}

// 1, 2 or 5 times a power of ten, about ten of them in `span`.
double tick_step(double span) {
  const double power = std::pow(10.0, std::floor(std::log10(span / 10)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (span / (factor * power) <= 10) return factor * power;
  }
  return 10 * power;
}

// "#0072b2" with so much white in it.
std::string lighter(const std::string& color, double white) {
  std::string result = "#";
  for (const std::size_t at : {1, 3, 5}) {
    const int part = std::stoi(color.substr(at, 2), nullptr, 16);
    result += fmt::format("{:02x}", static_cast<int>(std::lround(part + (255 - part) * white)));
  }
  return result;
}

// By stage, how many lower ones its rank has: 0 for all where every rank has one.
std::map<int, std::size_t> chunks_of(const Timeline& timeline) {
  std::map<int, std::set<int>> stages_of;
  for (const TraceEvent& event : timeline.events) stages_of[event.rank].insert(event.stage);
  std::map<int, std::size_t> chunks;
  for (const auto& [rank, stages] : stages_of) {
    std::size_t chunk = 0;
    for (const int stage : stages) chunks[stage] = std::min(chunk++, kWhite.size() - 1);
  }
  return chunks;
}

class Picture {
 public:
  Picture(const std::vector<Timeline>& timelines, const std::string& caption,
          const PictureOptions& options)
      : timelines_(timelines),
        caption_(lines_of(caption)),
        options_(options),
        right_(options.width - kMargin) {
    for (const Timeline& timeline : timelines) {
      check(timeline);
      chunks_.push_back(chunks_of(timeline));
      for (const auto& [stage, chunk] : chunks_.back()) {
        most_chunks_ = std::max(most_chunks_, chunk + 1);
      }
      span_ = std::max(span_, duration(timeline));
      bottom_ += kTitle + timeline.ranks * kRow + kGap;
      for (const TraceEvent& event : timeline.events) {
        if (style_of(event.kind) >= 0) used_[style_of(event.kind)] = true;
      }
    }
  }

  std::string draw() {
    open();
    legend();
    axis();
    double y = kMargin + kLegend;
    for (std::size_t i = 0; i < timelines_.size(); ++i) {
      const Timeline& timeline = timelines_[i];
      rows(timeline, chunks_[i], y);
      y += kTitle + timeline.ranks * kRow + kGap;
    }
    y += kAxis;
    for (const std::string& line : caption_) {
      text(kMargin, y, "c", line);
      y += kCaptionLine;
    }
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  template <typename... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Arguments>(arguments)...);
  }
  void text(double x, double y, const char* style, const std::string& content) {
    add("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", style, x, y, escaped(content));
  }
  double x_of(double seconds) const {
    return span_ > 0 ? kLeft + (right_ - kLeft) * seconds / span_ : kLeft;
  }

  static void check(const Timeline& timeline) {
    for (const TraceEvent& event : timeline.events) {
      STAGECOACH_CHECK(std::isfinite(event.start) && std::isfinite(event.end), "draw_svg",
                       "events with finite times", fmt::format("{} to {}", event.start, event.end));
      STAGECOACH_CHECK(event.rank >= 0 && event.rank < timeline.ranks, "draw_svg",
                       fmt::format("ranks below {}", timeline.ranks),
                       fmt::format("an event of rank {}", event.rank));
    }
  }

  void open() {
    const double height = bottom_ + kAxis + kCaptionLine * static_cast<double>(caption_.size());
    add("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
        "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"Helvetica, Arial, sans-serif\" "
        "font-size=\"12\">\n<style>\n"
        "text {{ fill: #222222 }}\n"
        ".t {{ font-weight: bold; font-size: 13px }}\n"
        ".c {{ fill: #444444 }}\n"
        ".r {{ text-anchor: end }}\n"
        ".a {{ text-anchor: middle; fill: #555555; font-size: 11px }}\n"
        ".idle {{ fill: #f3f3f3 }}\n"
        ".g {{ stroke: #dddddd }}\n",
        options_.width, height);
    for (const Style& style : kStyles) {
      add("rect.{0} {{ fill: {1} }}\ntext.n{0} {{ fill: {2}; text-anchor: middle; "
          "font-size: 11px }}\n",
          style.name, style.fill, style.ink);
    }
    for (std::size_t chunk = 1; chunk < most_chunks_; ++chunk) {
      for (std::size_t i = 0; i < kStyles.size(); ++i) {
        if (!used_[i]) continue;
        add("rect.{0}.c{1} {{ fill: {2} }}\ntext.n{0}.c{1} {{ fill: #111111 }}\n", kStyles[i].name,
            chunk, lighter(kStyles[i].fill, kWhite[chunk]));
      }
    }
    // White, so that it can be read on a dark page too.
    add("</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
  }

  void legend() {
    double x = kLeft;
    for (std::size_t i = 0; i < kStyles.size(); ++i) {
      if (!used_[i]) continue;
      for (std::size_t chunk = 0; chunk < most_chunks_; ++chunk, x += kLegendBox) {
        add("<path d=\"M{:.1f} {:.1f}h14v14h-14z\" fill=\"{}\"/>\n", x, kMargin,
            lighter(kStyles[i].fill, kWhite[chunk]));
      }
      text(x + 6, kMargin + 11.5, "c", kStyles[i].legend);
      x += 30 + 6.2 * static_cast<double>(std::string_view(kStyles[i].legend).size());
    }
    if (most_chunks_ > 1) text(x, kMargin + 11.5, "c", "lighter: a rank's later stages");
  }

  void axis() {
    const double top = kMargin + kLegend + kTitle - 4;
    if (span_ > 0) {
      const double span = span_ * options_.units_per_second, step = tick_step(span);
      const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
      for (int i = 0; i * step <= span * (1 + 1e-9); ++i) {
        const double x = x_of(i * step / options_.units_per_second);
        add("<path class=\"g\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>\n", x, top, bottom_);
        text(x, bottom_ + 14, "a", fmt::format("{:.{}f}", i * step, decimals));
      }
    }
    text((kLeft + right_) / 2, bottom_ + 29, "a", options_.axis);
  }

  // By rank "stage 2"; "rank 2" where a rank has several stages, or none.
  static std::vector<std::string> labels_of(const Timeline& timeline) {
    constexpr int kNone = -1, kSeveral = -2;
    std::vector<int> stage_of(static_cast<std::size_t>(timeline.ranks), kNone);
    for (const TraceEvent& event : timeline.events) {
      int& stage = stage_of[event.rank];
      stage = stage == kNone || stage == event.stage ? event.stage : kSeveral;
    }
    std::vector<std::string> labels;
    for (int rank = 0; rank < timeline.ranks; ++rank) {
      const int stage = stage_of[rank];
      labels.push_back(stage >= 0 ? fmt::format("stage {}", stage) : fmt::format("rank {}", rank));
    }
    return labels;
  }

  void rows(const Timeline& timeline, const std::map<int, std::size_t>& chunks, double y) {
    text(kLeft, y + 15, "t", timeline.title);
    y += kTitle;
    const double first = first_start(timeline), end = x_of(duration(timeline));
    const std::vector<std::string> labels = labels_of(timeline);
    for (int rank = 0; rank < timeline.ranks; ++rank) {
      text(kLeft - 8, y + rank * kRow + 15.5, "r", labels[rank]);
      add("<rect class=\"idle\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\"/>\n",
          kLeft, y + rank * kRow, end - kLeft, kBox);
    }
    for (const TraceEvent& event : timeline.events) {
      box(event, chunks.at(event.stage), first, y + event.rank * kRow);
    }
  }

  void box(const TraceEvent& event, std::size_t chunk, double first, double y) {
    const int style = style_of(event.kind);
    if (style < 0) return;
    const double x = x_of(event.start - first), width = x_of(event.end - first) - x;
    const std::string shade = chunk == 0 ? "" : fmt::format(" c{}", chunk);
    // A hair of white between neighbours, where there is room for it.
    const double drawn = width > 3 ? width - 0.7 : std::max(width, 0.2);
    // What may run beside a rank's work is a strip below it.
    const double height = has_own_row(event) ? kStrip : kBox;
    add("<rect class=\"{}{}\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{}\"/>\n",
        kStyles[style].name, shade, x, y + kBox - height, drawn, height);
    if (event.micro_batch < 0) return;
    const std::string number = std::to_string(event.micro_batch);
    if (drawn < kDigit * static_cast<double>(number.size()) + 2) return;
    add("<text class=\"n{}{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", kStyles[style].name, shade,
        x + drawn / 2, y + 15, number);
  }

  const std::vector<Timeline>& timelines_;
  std::vector<std::string> caption_;
  PictureOptions options_;
  double right_;
  std::vector<std::map<int, std::size_t>> chunks_;  // by timeline: of each stage
  std::size_t most_chunks_ = 1;
  std::array<bool, kStyles.size()> used_{};
  double span_ = 0;                    // seconds, of the longest timeline
  double bottom_ = kMargin + kLegend;  // of the rows
  std::string out_;
};

}  // namespace

std::string draw_svg(const std::vector<Timeline>& timelines, const std::string& caption,
                     const PictureOptions& options) {
  return Picture(timelines, caption, options).draw();
}

double picture_width(const Timeline& timeline, double widest) {
  const double narrowest = PictureOptions().width;
  std::vector<double> pixels;  // for each box: of the whole row, were it wide enough for its number
  const double span = duration(timeline);
  for (const TraceEvent& event : timeline.events) {
    if (style_of(event.kind) < 0 || !(event.end > event.start)) continue;
    const auto digits = static_cast<double>(std::to_string(event.micro_batch).size());
    pixels.push_back((kDigit * digits + 3) * span / (event.end - event.start));
  }
  if (pixels.empty()) return narrowest;
  const auto most = pixels.begin() + static_cast<std::ptrdiff_t>(pixels.size() * 9 / 10);
  std::nth_element(pixels.begin(), most, pixels.end());
  return std::clamp(std::ceil(*most + kLeft + kMargin), narrowest, widest);
}

}  // namespace stagecoach
