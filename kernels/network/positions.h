// Encodings of positions: d_model / 2 sines, then as many cosines, of position / 10000^(2i / d_model) in the Marian
// models of transformers and CTranslate2, of position / 10000^(2i / (d_model - 2)) in tensor2tensor and Marian itself,
// and of (position + 2) / 10000^(2i / (d_model - 2)) in fairseq's M2M-100 and NLLB.

#ifndef SUB3_KERNELS_POSITIONS_H_
#define SUB3_KERNELS_POSITIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sub3 {

enum class PositionKind : uint8_t { kMarian, kFairseq, kTensor2Tensor };

// Keeps the rows of the positions 0 .. 31 and of the multiples of 32, which the addition theorems combine in double:
// for 512 positions a fifth of the memory and a tenth of the time of a table of all.
class Positions {
 public:
  Positions() = default;
  Positions(size_t max_positions, size_t d_model, PositionKind kind);

  // x: [d_model].
  void Add(size_t position, float* x) const;

  // Bytes that the table of a model takes.
  static uint64_t TableBytes(size_t max_positions, size_t d_model);

 private:
  size_t half_ = 0;
  size_t first_ = 0;           // what position 0 is to the sines
  std::vector<double> table_;  // [32 + multiples of 32, d_model]
};

}  // namespace sub3

#endif  // SUB3_KERNELS_POSITIONS_H_
