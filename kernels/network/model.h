// A model: the tensor table read into layers. It owns no weights but the vectors widened from float16; everything else
// points into the caller's tensors.

#ifndef SUB3_KERNELS_MODEL_H_
#define SUB3_KERNELS_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <variant>
#include <vector>

#include "kernels/floats/float_ops.h"
#include "kernels/network/positions.h"
#include "kernels/network/shortlist.h"
#include "kernels/network/tensor_table.h"
#include "kernels/products/bcq_matrix.h"

namespace sub3 {

// Matrices of at most this many planes that multiply whole sources use the int8 GEMM: at four planes its
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

// A recurrence in the place of self-attention, the SSRU of Kim et al. 2019 (arXiv 1910.12107) as Marian has it: with
// f = sigmoid(forget(x)), c = f * c + (1 - f) * candidate(x), which is kept for the next position, and relu(c) goes on.
struct Ssru {
  Linear forget, candidate;
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
  std::variant<Attention, Ssru> past;  // how a position reads those before it; of one kind in all layers
  Attention encoder_attention;
  FeedForward ffn;
};

struct Config {
  size_t d_model, source_vocab_size, target_vocab_size;
  size_t encoder_heads, encoder_ffn_dim, decoder_heads, decoder_ffn_dim;
  Activation activation;
  bool pre_norm;
  bool ssru;  // of the decoder's layers
  float norm_epsilon;
  float embedding_scale;  // sqrt(d_model) or 1
  size_t max_positions;
  int32_t eos, decoder_start;
  std::vector<int32_t> suppressed;  // target ids that are never chosen
};

struct Model {
  Config config;
  BcqMatrix source_embedding, target_embedding;
  Linear output;    // often the target embedding itself
  Lexicon lexicon;  // empty: no shortlist
  std::vector<EncoderLayer> encoder;
  std::vector<DecoderLayer> decoder;
  LayerNorm encoder_norm, decoder_norm;  // pre-norm models only
  Positions positions;
  std::deque<std::vector<float>> widened;  // vectors that are float16 in the table
  uint64_t weight_bytes = 0;               // of the tensors, the part that the segments use
};

// Throws InvalidModel.
Model BuildModel(const sub3_config& config, const sub3_tensor* tensors, uint64_t num_tensors,
                 const sub3_segment* segments, uint64_t num_segments);

}  // namespace sub3

#endif  // SUB3_KERNELS_MODEL_H_
