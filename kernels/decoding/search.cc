#include "kernels/decoding/search.h"

#include <cmath>
#include <iterator>
#include <limits>

namespace sub3 {

std::vector<Continuation> Search::Advance(const FloatOps& ops, float* logits) {
  ++length_;
  const std::vector<Candidate> candidates = Candidates(ops, logits);
  std::vector<Row> next;
  std::vector<Continuation> continuations;
  for (size_t rank = 0; rank < candidates.size() && next.size() < options_.num_rows(); ++rank) {
    const Candidate& candidate = candidates[rank];
    const int32_t node = rows_[candidate.row].node;
    if (candidate.token == options_.eos) {
      if (rank < options_.beam_size) AddHypothesis(node, rows_taken_ + candidate.row, candidate.sum);
      if (options_.num_rows() == 1) return {};
      continue;
    }
    tree_.push_back({candidate.token, node, rows_taken_ + candidate.row});
    next.push_back({static_cast<int32_t>(tree_.size() - 1), candidate.sum, candidate.state, candidate.needed});
    continuations.push_back({candidate.row, candidate.token});
  }
  if (next.empty()) return {};
  if (length_ >= options_.max_length) {
    const size_t needed = hypotheses_.empty() ? next[0].needed : 0;
    for (const Row& row : next) {  // hypotheses without eos
      if (row.needed <= needed) AddHypothesis(row.node, tree_[row.node].row, row.sum);
    }
    return {};
  }
  if (hypotheses_.size() >= options_.beam_size) {
    const auto less = [](const Row& a, const Row& b) { return a.sum < b.sum; };
    const float best = std::max_element(next.begin(), next.end(), less)->sum;
    if (hypotheses_.back().score >= Normalized(best)) return {};
  }
  rows_taken_ += static_cast<uint32_t>(rows_.size());
  rows_ = std::move(next);
  return continuations;
}

// The best continuations of all rows, best first; with constraints, in the order of their banks.
std::vector<Search::Candidate> Search::Candidates(const FloatOps& ops, float* logits) const {
  if (length_ <= options_.prefix.size()) {
    const int32_t token = options_.prefix[length_ - 1];
    const ConstraintState state = options_.constraints.After(rows_[0].state, token);
    return {{0, token, 0.0f, state, options_.constraints.Needed(state)}};
  }
  const size_t num_rows = options_.num_rows();
  const size_t wanted = std::min(num_rows == 1 ? 1 : 2 * num_rows, options_.vocab_size);
  std::vector<int32_t> best(wanted);
  std::vector<float> values(wanted);
  std::vector<Candidate> candidates;
  for (uint32_t r = 0; r < rows_.size(); ++r, logits += options_.vocab_size) {
    if (length_ <= options_.min_length) logits[PlaceOf(options_.eos)] = -std::numeric_limits<float>::infinity();
    ops.top_k(logits, options_.vocab_size, wanted, best.data(), values.data());
    const float normalizer = ops.log_sum_exp(logits, options_.vocab_size, values[0]);
    std::transform(best.begin(), best.end(), best.begin(), [this](int32_t place) { return TokenAt(place); });
    for (const int32_t token : NextTokens(rows_[r], best)) {
      candidates.push_back({r, token, rows_[r].sum + (logits[PlaceOf(token)] - normalizer)});
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.sum > b.sum; });
  return options_.constraints.empty() ? candidates : Allocated(candidates);
}

// The token of a place among a row's logits, and its inverse. Every token that is asked for is a candidate.
int32_t Search::TokenAt(int32_t place) const {
  return options_.candidates.empty() ? place : options_.candidates[place];
}

size_t Search::PlaceOf(int32_t token) const {
  const std::vector<int32_t>& all = options_.candidates;
  return all.empty() ? static_cast<size_t>(token) : std::lower_bound(all.begin(), all.end(), token) - all.begin();
}

// The tokens that may continue a row: its best ones, or with constraints by one of three rules.
std::vector<int32_t> Search::NextTokens(const Row& row, const std::vector<int32_t>& best) const {
  if (options_.constraints.empty()) return best;
  const bool would_end = best[0] == options_.eos;
  // 1. A row that would end and has met all constraints ends.
  if (would_end && row.needed == 0) return {options_.eos};
  std::vector<int32_t> needed = options_.constraints.Next(row.state);
  // 2. A row that would end too early continues with needed tokens only: any other token would just thin out the cost
  // of the phrases ("....").
  if (would_end) return needed;
  // 3. Any other row continues with its best tokens except eos, or with needed tokens.
  std::vector<int32_t> tokens;
  std::remove_copy(best.begin(), best.end(), std::back_inserter(tokens), options_.eos);
  std::copy_if(needed.begin(), needed.end(), std::back_inserter(tokens),
               [&](int32_t token) { return std::find(best.begin(), best.end(), token) == best.end(); });
  return tokens;
}

// Dynamic beam allocation over candidates, best first: those that end, then one for each row of the next step.
std::vector<Search::Candidate> Search::Allocated(const std::vector<Candidate>& candidates) const {
  std::vector<Candidate> allocated;
  std::vector<std::vector<Candidate>> banks(options_.constraints.max_needed() + 1);
  for (Candidate candidate : candidates) {
    if (candidate.token == options_.eos) {
      allocated.push_back(candidate);
      continue;
    }
    candidate.state = options_.constraints.After(rows_[candidate.row].state, candidate.token);
    candidate.needed = options_.constraints.Needed(candidate.state);
    banks[candidate.needed].push_back(candidate);
  }
  // Each bank gets a row in turn: first the bank that needs least, which must go on; then from the banks that need
  // most, where the place of the constraints in the sentence is still open.
  std::vector<size_t> filled, taken(banks.size());
  for (size_t needed = 0; needed < banks.size(); ++needed) {
    if (!banks[needed].empty()) filled.push_back(needed);
  }
  if (!filled.empty()) std::reverse(filled.begin() + 1, filled.end());
  size_t left = options_.num_rows();
  for (bool dealt = true; dealt && left > 0;) {
    dealt = false;
    for (size_t needed : filled) {
      if (left == 0 || taken[needed] == banks[needed].size()) continue;
      ++taken[needed], --left, dealt = true;
    }
  }
  for (size_t needed = 0; needed < banks.size(); ++needed) {
    allocated.insert(allocated.end(), banks[needed].data(), banks[needed].data() + taken[needed]);
  }
  return allocated;
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
