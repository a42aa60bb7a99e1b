#include "kernels/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sub3 {

std::vector<Continuation> Search::Advance(const FloatOps& ops, float* logits) {
  ++length_;
  const std::vector<Candidate> candidates = Candidates(ops, logits);
  std::vector<Row> next;
  std::vector<Continuation> continuations;
  for (size_t rank = 0; rank < candidates.size() && next.size() < options_.beam_size; ++rank) {
    const Candidate& candidate = candidates[rank];
    const int32_t node = rows_[candidate.row].node;
    if (candidate.token == options_.eos) {
      if (rank < options_.beam_size) AddHypothesis(node, rows_taken_ + candidate.row, candidate.sum);
      if (options_.beam_size == 1) return {};
      continue;
    }
    tree_.push_back({candidate.token, node, rows_taken_ + candidate.row});
    next.push_back({static_cast<int32_t>(tree_.size() - 1), candidate.sum});
    continuations.push_back({candidate.row, candidate.token});
  }
  if (length_ >= options_.max_length) {
    for (const Row& row : next) AddHypothesis(row.node, tree_[row.node].row, row.sum);  // eos was never chosen
    return {};
  }
  if (next.empty() ||
      (hypotheses_.size() >= options_.beam_size && hypotheses_.back().score >= Normalized(next[0].sum))) {
    return {};
  }
  rows_taken_ += static_cast<uint32_t>(rows_.size());
  rows_ = std::move(next);
  return continuations;
}

// The best continuations of all rows, best first.
std::vector<Search::Candidate> Search::Candidates(const FloatOps& ops, float* logits) const {
  const size_t wanted = std::min(options_.beam_size == 1 ? 1 : 2 * options_.beam_size, options_.vocab_size);
  std::vector<int32_t> tokens(wanted);
  std::vector<float> values(wanted);
  std::vector<Candidate> candidates;
  for (uint32_t r = 0; r < rows_.size(); ++r, logits += options_.vocab_size) {
    if (length_ <= options_.min_length) logits[options_.eos] = -std::numeric_limits<float>::infinity();
    ops.top_k(logits, options_.vocab_size, wanted, tokens.data(), values.data());
    const float normalizer = ops.log_sum_exp(logits, options_.vocab_size, values[0]);
    for (size_t k = 0; k < wanted; ++k) candidates.push_back({r, tokens[k], rows_[r].sum + (values[k] - normalizer)});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.sum > b.sum; });
  return candidates;
}

void Search::AddHypothesis(int32_t node, uint32_t last_row, float sum) {
  std::vector<int32_t> ids;
  std::vector<uint32_t> rows{last_row};
  for (; node >= 0; node = tree_[node].parent) {
    ids.push_back(tree_[node].token);
    rows.push_back(tree_[node].row);
  }
  std::reverse(ids.begin(), ids.end());
  std::reverse(rows.begin(), rows.end());
  const float score = Normalized(sum);
  auto place = hypotheses_.begin();
  while (place != hypotheses_.end() && place->score >= score) ++place;
  hypotheses_.insert(place, {std::move(ids), std::move(rows), score});
  if (hypotheses_.size() > options_.beam_size) hypotheses_.pop_back();
}

float Search::Normalized(float sum) const {
  return sum / std::pow(static_cast<float>(length_), options_.length_penalty);
}

}  // namespace sub3
