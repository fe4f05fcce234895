// An axis: a range of data mapped to pixels, with ticks at round values.
#pragma once
#include <string>
#include <vector>

namespace terse {

enum class Unit { plain, count, bytes, seconds };

struct Tick {
  double value = 0;
  std::string label;
};

class Axis {
 public:
  // Covers [low, high], which are data values with low <= high (log: both > 0).
  Axis(double low, double high, double pixel_low, double pixel_high, Unit unit, bool log);

  double pixel(double value) const;
  // At most about `most` ticks, ascending, inside the range.
  std::vector<Tick> ticks(int most) const;
  // Widens the range to the ticks around it, so that a line never touches the frame's end.
  void round_outwards(int most);

 private:
  double step(int most) const;
  std::string label(double value, double step) const;
  std::vector<Tick> log_ticks(int most) const;

  double low_, high_, pixel_low_, pixel_high_;
  Unit unit_;
  bool log_;
};

}  // namespace terse
