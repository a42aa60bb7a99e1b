// The tensor table becomes layers. Every name, shape and byte count is checked here, once; a Model owns no weights
// but the vectors that it widens from float16; it points into the caller's table.

#ifndef SUB3_KERNELS_MODEL_H_
#define SUB3_KERNELS_MODEL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/floats/float_ops.h"
#include "kernels/products/bcq_matmul.h"

extern "C" {
#include "kernels/engine_api.h"
}

namespace sub3 {

// A model that can't be served; the message is a sentence that names the tensor or the field.
class InvalidModel : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Matrices of at most this many planes that meet whole sources at once use the int8 GEMM: at four planes its
// rounding is a fiftieth of the codes' own error.
constexpr int kMaxPlanesForInt8 = 4;

struct Linear {
  BcqMatrix weight;
  const float* bias = nullptr;
  bool int8 = false;
};

struct LayerNorm {
  const float* gain = nullptr;
  const float* bias = nullptr;
};

struct Attention {
  Linear query, key, value, output;
  LayerNorm norm;
};

struct FeedForward {
  Linear inner, outer;
  LayerNorm norm;
};

struct EncoderLayer {
  Attention self_attention;
  FeedForward ffn;
};

struct DecoderLayer {
  Attention self_attention, encoder_attention;
  FeedForward ffn;
};

struct Config {
  size_t d_model, source_vocab_size, target_vocab_size;
  size_t encoder_heads, encoder_ffn_dim, decoder_heads, decoder_ffn_dim;
  Activation activation;
  bool pre_norm;
  float norm_epsilon;
  float embedding_scale;  // sqrt(d_model) or 1
  size_t max_positions;
  int32_t eos, decoder_start;
  std::vector<int32_t> suppressed;  // target ids that are never chosen
};

// Marian's encoding of positions: d_model / 2 sines, then as many cosines, of position / 10000^(2i / d_model). Kept as
// those of 0 .. 31 and of the multiples of 32, which the addition theorems combine in double: for 512 positions a fifth
// of the memory and a tenth of the time of a table of all.
class Positions {
 public:
  static constexpr size_t kFine = 32;

  Positions() = default;
  Positions(size_t max_positions, size_t d_model);

  // x: [d_model].
  void Add(size_t position, float* x) const;

 private:
  size_t half_ = 0;
  std::vector<double> table_;  // [kFine + multiples, d_model]
};

struct Model {
  Config config;
  BcqMatrix source_embedding, target_embedding;
  Linear output;  // often the target embedding itself
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  LayerNorm encoder_norm, decoder_norm;  // pre-norm models only
  Positions positions;
  std::deque<std::vector<float>> widened;  // vectors that the table has in float16
  uint64_t weight_bytes = 0;               // of the table's tensors, what this model's segments touch
};

// Names and shapes of the tensor table, with checked look-ups.
class TensorTable {
 public:
  // Throws InvalidModel on null pointers, repeated names, or sizes that do not fit dtype and shape.
  TensorTable(const sub3_tensor* tensors, uint64_t num_tensors, const sub3_segment* segments, uint64_t num_segments);

  // The coded matrix `name`; throws InvalidModel if it is missing or does not have this shape.
  BcqMatrix Matrix(const std::string& name, size_t rows, size_t columns);
  // A vector of n entries, null if `optional` and absent. One of float16 is widened, and belongs to `TakeWidened`.
  const float* Vector(const std::string& name, size_t n, bool optional = false);

  uint64_t bytes_used() const { return bytes_used_; }
  std::deque<std::vector<float>> TakeWidened() { return std::move(widened_); }

 private:
  const sub3_tensor& Find(const std::string& name) const;
  const sub3_tensor& Find(const std::string& name, uint32_t dtype, uint32_t num_dims) const;
  BcqSegment Segment(const sub3_segment& segment, const BcqMatrix& matrix);

  std::map<std::string, const sub3_tensor*> tensors_;
  std::map<std::string, std::vector<const sub3_segment*>> segments_;
  std::deque<std::vector<float>> widened_;
  uint64_t bytes_used_ = 0;
};

// Throws InvalidModel.
Model BuildModel(const sub3_config& config, const sub3_tensor* tensors, uint64_t num_tensors,
                 const sub3_segment* segments, uint64_t num_segments);

}  // namespace sub3

#endif  // SUB3_KERNELS_MODEL_H_
