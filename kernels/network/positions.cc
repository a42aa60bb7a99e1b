#include "kernels/network/positions.h"

#include <algorithm>
#include <cmath>

namespace sub3 {

namespace {

constexpr size_t kFine = 32;

constexpr size_t kFairseqFirst = 2;  // behind the rows of <s> and <pad>

size_t TableRows(size_t max_positions) { return kFine + (max_positions + kFairseqFirst + kFine - 1) / kFine; }

}  // namespace

Positions::Positions(size_t max_positions, size_t d_model, PositionKind kind)
    : half_(d_model / 2), first_(kind == PositionKind::kFairseq ? kFairseqFirst : 0) {
  const size_t rows = TableRows(max_positions);
  const size_t steps = kind == PositionKind::kMarian ? half_ : std::max<size_t>(half_ - 1, 1);
  table_.resize(rows * d_model);
  for (size_t i = 0; i < half_; ++i) {
    const double rate = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(steps));
    for (size_t row = 0; row < rows; ++row) {
      const size_t position = row < kFine ? row : (row - kFine) * kFine;
      const double angle = static_cast<double>(position) * rate;
      table_[row * d_model + i] = std::sin(angle);
      table_[row * d_model + half_ + i] = std::cos(angle);
    }
  }
}

void Positions::Add(size_t position, float* x) const {
  position += first_;
  const double* fine = table_.data() + position % kFine * 2 * half_;
  const double* coarse = table_.data() + (kFine + position / kFine) * 2 * half_;
  for (size_t i = 0; i < half_; ++i) {
    x[i] += static_cast<float>(coarse[i] * fine[half_ + i] + coarse[half_ + i] * fine[i]);
    x[half_ + i] += static_cast<float>(coarse[half_ + i] * fine[half_ + i] - coarse[i] * fine[i]);
  }
}

uint64_t Positions::TableBytes(size_t max_positions, size_t d_model) {
  return uint64_t{TableRows(max_positions)} * d_model * sizeof(double);
}

}  // namespace sub3
