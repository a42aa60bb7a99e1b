#include "kernels/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sub3 {

namespace {

// Running rows share their beginnings: a tree of tokens, each row a leaf.
struct Node {
  int32_t token;
  int32_t parent;  // -1: first token
};

struct Row {
  int32_t node;
  float sum;  // of log probabilities
};

struct Candidate {
  size_t row;  // among the sentence's rows
  int32_t token;
  float sum;
};

struct Sentence {
  uint32_t index;
  std::vector<Row> rows;
  std::vector<Hypothesis> hypotheses;  // best first
};

std::vector<int32_t> Path(const std::vector<Node>& tree, int32_t node) {
  std::vector<int32_t> ids;
  for (; node >= 0; node = tree[node].parent) ids.push_back(tree[node].token);
  std::reverse(ids.begin(), ids.end());
  return ids;
}

class BeamSearch {
 public:
  BeamSearch(const SearchOptions& options, const FloatOps& ops) : options_(options), ops_(ops) {
    const size_t wanted = options.beam_size == 1 ? 1 : 2 * options.beam_size;
    candidates_per_row_ = std::min(wanted, options.vocab_size);
    tokens_.resize(candidates_per_row_);
    values_.resize(candidates_per_row_);
  }

  std::vector<std::vector<Hypothesis>> Run(const StepFunction& step, float* logits) {
    std::vector<Sentence> active;
    std::vector<StepRow> rows;
    for (uint32_t i = 0; i < options_.max_lengths.size(); ++i) {
      active.push_back({i, {{-1, 0.0f}}, {}});
      rows.push_back({options_.start, -1, i});
    }
    std::vector<std::vector<Hypothesis>> results(active.size());
    for (uint32_t length = 1; !active.empty(); ++length) {
      step(rows, logits);
      rows.clear();
      size_t first_row = 0;
      std::vector<Sentence> still_active;
      for (Sentence& sentence : active) {
        const size_t num_rows = sentence.rows.size();
        const std::vector<Candidate> candidates =
            Candidates(sentence, length, logits + first_row * options_.vocab_size);
        const bool done = Advance(&sentence, candidates, length, first_row, &rows);
        first_row += num_rows;
        if (done) {
          results[sentence.index] = std::move(sentence.hypotheses);
        } else {
          still_active.push_back(std::move(sentence));
        }
      }
      active = std::move(still_active);
    }
    return results;
  }

 private:
  // The best continuations of all the sentence's rows, best first.
  std::vector<Candidate> Candidates(const Sentence& sentence, uint32_t length, float* logits) {
    std::vector<Candidate> candidates;
    for (size_t r = 0; r < sentence.rows.size(); ++r, logits += options_.vocab_size) {
      if (length <= options_.min_length) logits[options_.eos] = -std::numeric_limits<float>::infinity();
      const float normalizer = ops_.log_sum_exp(logits, options_.vocab_size);
      ops_.top_k(logits, options_.vocab_size, candidates_per_row_, tokens_.data(), values_.data());
      for (size_t k = 0; k < candidates_per_row_; ++k) {
        candidates.push_back({r, tokens_[k], sentence.rows[r].sum + (values_[k] - normalizer)});
      }
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.sum > b.sum; });
    return candidates;
  }

  // Takes one step of a sentence; appends its next rows to *rows unless it is done.
  bool Advance(Sentence* sentence, const std::vector<Candidate>& candidates, uint32_t length, size_t first_row,
               std::vector<StepRow>* rows) {
    const bool at_end = length >= options_.max_lengths[sentence->index];
    std::vector<Row> next;
    std::vector<StepRow> next_rows;
    for (size_t rank = 0; rank < candidates.size() && next.size() < options_.beam_size; ++rank) {
      const Candidate& candidate = candidates[rank];
      const int32_t parent = sentence->rows[candidate.row].node;
      if (candidate.token == options_.eos) {
        if (rank < options_.beam_size) AddHypothesis(sentence, Path(tree_, parent), candidate.sum, length);
        if (options_.beam_size == 1) return true;
        continue;
      }
      tree_.push_back({candidate.token, parent});
      next.push_back({static_cast<int32_t>(tree_.size() - 1), candidate.sum});
      next_rows.push_back({candidate.token, static_cast<int32_t>(first_row + candidate.row), sentence->index});
    }
    if (at_end) {
      for (const Row& row : next) AddHypothesis(sentence, Path(tree_, row.node), row.sum, length);
      return true;
    }
    if (next.empty()) return true;
    if (sentence->hypotheses.size() >= options_.beam_size &&
        sentence->hypotheses.back().score >= Normalized(next[0].sum, length)) {
      return true;
    }
    sentence->rows = std::move(next);
    rows->insert(rows->end(), next_rows.begin(), next_rows.end());
    return false;
  }

  void AddHypothesis(Sentence* sentence, std::vector<int32_t> ids, float sum, uint32_t length) {
    const float score = Normalized(sum, length);
    auto place = sentence->hypotheses.begin();
    while (place != sentence->hypotheses.end() && place->score >= score) ++place;
    sentence->hypotheses.insert(place, {std::move(ids), score});
    if (sentence->hypotheses.size() > options_.beam_size) sentence->hypotheses.pop_back();
  }

  float Normalized(float sum, uint32_t length) const {
    return sum / std::pow(static_cast<float>(length), options_.length_penalty);
  }

  const SearchOptions& options_;
  const FloatOps& ops_;
  size_t candidates_per_row_;
  std::vector<int32_t> tokens_;
  std::vector<float> values_;
  std::vector<Node> tree_;
};

}  // namespace

std::vector<std::vector<Hypothesis>> Search(const SearchOptions& options, const FloatOps& ops, const StepFunction& step,
                                            float* logits) {
  return BeamSearch(options, ops).Run(step, logits);
}

}  // namespace sub3
