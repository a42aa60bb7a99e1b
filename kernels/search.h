// Greedy and beam search over a step function; knows no model.
//
// Beam search: at each step the best 2 * beam_size continuations of a sentence are looked at; those among the best
// beam_size that end with eos become hypotheses, the others go on. score = sum of log probabilities / length^penalty,
// eos counted (Marian's and Hugging Face's normalisation). A sentence is done when it has beam_size hypotheses and its
// best running row, normalised at the present length, is no better than the worst of them. beam_size 1 is greedy.

#ifndef SUB3_KERNELS_SEARCH_H_
#define SUB3_KERNELS_SEARCH_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/float_ops.h"
#include "kernels/transformer.h"

namespace sub3 {

struct SearchOptions {
  size_t beam_size;
  float length_penalty;
  uint32_t min_length;                // eos can't be chosen before
  std::vector<uint32_t> max_lengths;  // of each sentence, eos included
  size_t vocab_size;
  int32_t start, eos;
};

struct Hypothesis {
  std::vector<int32_t> ids;  // without eos
  float score;
};

// Writes logits [rows.size(), vocab_size]; -infinity where a token must not be chosen.
using StepFunction = std::function<void(const std::vector<StepRow>& rows, float* logits)>;

// For each sentence up to beam_size hypotheses, best first. logits: room for [sentences * beam_size, vocab_size].
std::vector<std::vector<Hypothesis>> Search(const SearchOptions& options, const FloatOps& ops, const StepFunction& step,
                                            float* logits);

}  // namespace sub3

#endif  // SUB3_KERNELS_SEARCH_H_
