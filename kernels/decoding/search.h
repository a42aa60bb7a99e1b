// Greedy and beam search of one sentence, one step at a time, independent of the model.
//
// Each step ranks the best 2 * beam_size continuations of the sentence. Those among the best beam_size that end with
// eos become hypotheses; the others stay in the beam. score = sum of log probabilities / length^penalty, eos counted
// (Marian's and Hugging Face's normalisation). A sentence is done when it has beam_size hypotheses and its best running
// row, normalised at the present length, is not better than the worst of them. beam_size 1 is greedy search.
//
// With constraints (constraints.h) it is dynamic beam allocation (Post & Vilar 2018, arXiv 1804.06609, with the states
// of Hu et al. 2019). Candidates include the tokens that advance the constraints of each row. They are sorted into
// banks by the number of tokens that they still need, and the rows of the next step are distributed among the banks.
// Only a row whose best token is eos and that has met all constraints becomes a hypothesis; one that has not met them
// continues with the tokens it needs. The bank that needs least always gets a row, so that all constraints are met if
// they fit into max_length; if they do not fit, the hypotheses are those that need least.

#ifndef SUB3_KERNELS_SEARCH_H_
#define SUB3_KERNELS_SEARCH_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/decoding/constraints.h"
#include "kernels/floats/float_ops.h"

namespace sub3 {

struct SearchOptions {
  size_t beam_size;  // and number of hypotheses
  float length_penalty;
  uint32_t min_length, max_length;  // of tokens before eos; of tokens, eos included
  size_t vocab_size;                // logits of a row: of all tokens, or of the candidates
  int32_t eos;
  Constraints constraints = {};
  size_t constrained_rows = 0;           // of a step with constraints, if the beam is narrower
  std::vector<int32_t> prefix = {};      // what every hypothesis begins with, at no cost
  std::vector<int32_t> candidates = {};  // the tokens of the logits, ascending, where those of a shortlist; else empty

  size_t num_rows() const { return constraints.empty() ? beam_size : std::max(beam_size, constrained_rows); }
};

struct Hypothesis {
  std::vector<int32_t> ids;    // without eos
  std::vector<uint32_t> rows;  // [ids + 1]: whose logits chose each id and eos, counted over all steps
  float score;
  std::vector<float> alignment = {};  // [ids + 1, source length] if requested; the batch fills it in
};

// A row of the next step: the row of the last step that it continues, and the token to read.
struct Continuation {
  uint32_t parent;
  int32_t token;
};

class Search {
 public:
  explicit Search(const SearchOptions& options)
      : options_(options), rows_{{-1, 0.0f, {}, options.constraints.Needed({})}} {}

  // logits: [num_rows, vocab_size] of the last step (vocab_size as in SearchOptions), in the order of the rows that
  // Advance returned (one row at first), -infinity where a token must not be chosen; they are overwritten. Returns the
  // rows of the next step; none: done.
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
    ConstraintState state;
    size_t needed;  // tokens that would meet all constraints
  };
  struct Candidate {
    uint32_t row;
    int32_t token;
    float sum;
    ConstraintState state = {};
    size_t needed = 0;
  };

  std::vector<Candidate> Candidates(const FloatOps& ops, float* logits) const;
  int32_t TokenAt(int32_t place) const;
  size_t PlaceOf(int32_t token) const;
  std::vector<int32_t> NextTokens(const Row& row, const std::vector<int32_t>& best) const;
  std::vector<Candidate> Allocated(const std::vector<Candidate>& candidates) const;
  void AddHypothesis(int32_t node, uint32_t last_row, float sum);
  float Normalized(float sum) const;

  SearchOptions options_;
  uint32_t length_ = 0;      // steps taken
  uint32_t rows_taken_ = 0;  // in all earlier steps
  std::vector<Row> rows_;    // leaves of the tree: running rows share their prefixes
  std::vector<Node> tree_;
  std::vector<Hypothesis> hypotheses_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_SEARCH_H_
