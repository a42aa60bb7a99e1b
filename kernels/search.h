// Greedy and beam search of one sentence, a step at a time; knows no model.
//
// At each step the best 2 * beam_size continuations of the sentence are looked at; those among the best beam_size that
// end with eos become hypotheses, the others go on. score = sum of log probabilities / length^penalty, eos counted
// (Marian's and Hugging Face's normalisation). A sentence is done when it has beam_size hypotheses and its best running
// row, normalised at the present length, is no better than the worst of them. beam_size 1 is greedy.

#ifndef SUB3_KERNELS_SEARCH_H_
#define SUB3_KERNELS_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/float_ops.h"

namespace sub3 {

struct SearchOptions {
  size_t beam_size;
  float length_penalty;
  uint32_t min_length, max_length;  // eos can't be chosen within the first, and is counted by the second
  size_t vocab_size;
  int32_t eos;
};

struct Hypothesis {
  std::vector<int32_t> ids;    // without eos
  std::vector<uint32_t> rows;  // whose logits each id and at last eos was chosen from, counted over all steps
  float score;
  std::vector<float> alignment = {};  // [ids + 1, source length] if asked for, filled in by the batch
};

// A row to go on with: the row of the step just taken whose history it has, and the token to read next.
struct Continuation {
  uint32_t parent;
  int32_t token;
};

class Search {
 public:
  explicit Search(const SearchOptions& options) : options_(options), rows_{{-1, 0.0f}} {}

  // logits: [num_rows, vocab_size] of the step just taken, in the order of the rows asked for (one row at first),
  // -infinity where a token must not be chosen; they are overwritten. Returns the rows of the next step; none: done.
  std::vector<Continuation> Advance(const FloatOps& ops, float* logits);

  // Up to beam_size, best first.
  std::vector<Hypothesis> TakeHypotheses() { return std::move(hypotheses_); }

 private:
  struct Node {
    int32_t token;
    int32_t parent;  // -1: first token
    uint32_t row;    // as in Hypothesis
  };
  struct Row {
    int32_t node;
    float sum;  // of log probabilities
  };
  struct Candidate {
    uint32_t row;
    int32_t token;
    float sum;
  };

  std::vector<Candidate> Candidates(const FloatOps& ops, float* logits) const;
  void AddHypothesis(int32_t node, uint32_t last_row, float sum);
  float Normalized(float sum) const;

  SearchOptions options_;
  uint32_t length_ = 0;      // steps taken
  uint32_t rows_taken_ = 0;  // in the steps before this one
  std::vector<Row> rows_;    // each a leaf of the tree: running rows share their beginnings
  std::vector<Node> tree_;
  std::vector<Hypothesis> hypotheses_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_SEARCH_H_
