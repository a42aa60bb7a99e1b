#include "kernels/decoding/batch.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace sub3 {

namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The share of the parts [begin, end) of n: neighbouring shares add up exactly.
uint64_t Share(uint64_t whole, size_t begin, size_t end, size_t n) { return whole * end / n - whole * begin / n; }

// The share of `count` parts of n.
double Share(double whole, size_t count, size_t n) {
  return whole * static_cast<double>(count) / static_cast<double>(n);
}

// The slot of a row equals its number: both count the rows of all steps in order.
void Align(const DecoderState& state, std::vector<Hypothesis>* hypotheses) {
  for (Hypothesis& hypothesis : *hypotheses) {
    hypothesis.alignment.reserve(hypothesis.rows.size() * state.source_length);
    for (const uint32_t row : hypothesis.rows) {
      const float* weights = state.alignment(row);
      hypothesis.alignment.insert(hypothesis.alignment.end(), weights, weights + state.source_length);
    }
  }
}

}  // namespace

void Batch::Add(const std::vector<Source>& sources) {
  const Clock::time_point start = Clock::now();
  std::vector<int32_t> tokens;
  std::vector<size_t> offsets{0};
  for (const Source& source : sources) {
    tokens.insert(tokens.end(), source.tokens, source.tokens + source.num_tokens);
    offsets.push_back(tokens.size());
  }
  Workspace states;
  const Encoded encoded = Encode(model_, context_, tokens.data(), std::move(offsets), &states);

  std::vector<std::unique_ptr<Sentence>> joining;
  std::vector<DecoderState*> joining_states;
  for (const Source& source : sources) {
    joining.push_back(std::make_unique<Sentence>(model_, source));
    joining_states.push_back(&joining.back()->state);
  }
  decoder_.Join(encoded, joining_states);

  const double seconds = SecondsSince(start);
  cost_.encode_seconds += seconds;
  cost_.workspace_peak_bytes = std::max(cost_.workspace_peak_bytes, encoded.pass_bytes + workspace_bytes());
  running_.reserve(running_.size() + joining.size());
  rows_.reserve(rows_.size() + joining.size());
  for (size_t s = 0; s < joining.size(); ++s) {
    Sentence& sentence = *joining[s];
    const size_t begin = encoded.offsets[s], end = encoded.offsets[s + 1];
    sentence.cost.encode_seconds = Share(seconds, encoded.length(s), encoded.tokens());
    sentence.cost.workspace_peak_bytes = Share(encoded.pass_bytes, begin, end, encoded.tokens());
    rows_.push_back({&sentence.state, 0, model_.config.decoder_start});
    running_.push_back(std::move(joining[s]));
  }
}

// Makes room for the most rows that the running sentences can have.
void Batch::Reserve() {
  size_t max_rows = 0, longest = 0, num_logits = 0;
  for (const auto& sentence : running_) {
    max_rows += sentence->state.max_rows;
    num_logits += sentence->state.max_rows * sentence->num_logits;
    longest = std::max({longest, sentence->state.max_length, sentence->state.source_length});
  }
  decoder_.Reserve(max_rows, longest);
  if (num_logits > num_logits_ || 2 * num_logits < num_logits_) {
    logits_memory_ = Workspace();
    num_logits_ = 0;  // if the allocation throws
    logits_ = num_logits == 0 ? nullptr : logits_memory_.Allocate<float>(num_logits);
    num_logits_ = num_logits;
  }
}

std::vector<uint64_t> Batch::Step() {
  if (running_.empty()) return {};
  const Clock::time_point start = Clock::now();
  Reserve();
  decoder_.Step(rows_, logits_);

  std::vector<StepRow> next_rows;
  std::vector<size_t> next_counts;
  float* logits = logits_;
  for (const auto& sentence : running_) {
    if (!sentence->state.output) Suppress(sentence->num_rows, logits);
    const auto continuations = sentence->search.Advance(*context_.isa->float_ops, logits);
    for (const Continuation& row : continuations) next_rows.push_back({&sentence->state, row.parent, row.token});
    next_counts.push_back(continuations.size());
    logits += sentence->num_rows * sentence->num_logits;
  }
  AddCosts(SecondsSince(start));

  std::vector<uint64_t> ended;
  for (size_t s = 0; s < running_.size(); ++s) {
    Sentence& sentence = *running_[s];
    sentence.num_rows = next_counts[s];
    if (sentence.num_rows > 0) continue;
    std::vector<Hypothesis> hypotheses = sentence.search.TakeHypotheses();
    if (sentence.state.alignment_layer > 0) Align(sentence.state, &hypotheses);
    ended_.emplace(sentence.id, SentenceResult{std::move(hypotheses), sentence.cost});
    ended.push_back(sentence.id);
  }
  running_.erase(std::remove_if(running_.begin(), running_.end(), [](const auto& s) { return s->num_rows == 0; }),
                 running_.end());
  rows_ = std::move(next_rows);
  if (running_.empty()) Reserve();
  return ended;
}

// Lets no row choose a suppressed token; a shortlist has none.
void Batch::Suppress(size_t num_rows, float* logits) const {
  for (size_t r = 0; r < num_rows; ++r) {
    for (int32_t id : model_.config.suppressed) {
      logits[r * model_.config.target_vocab_size + id] = -std::numeric_limits<float>::infinity();
    }
  }
}

// Adds the last step and its memory to the costs of its sentences.
void Batch::AddCosts(double seconds) {
  const uint64_t common = decoder_.workspace_bytes() + logits_memory_.bytes();
  cost_.decode_seconds += seconds;
  cost_.workspace_peak_bytes = std::max(cost_.workspace_peak_bytes, workspace_bytes());
  cost_.kv_cache_peak_bytes = std::max(cost_.kv_cache_peak_bytes, kv_cache_bytes());
  size_t begin = 0;
  for (const auto& sentence : running_) {
    Cost& cost = sentence->cost;
    const size_t end = begin + sentence->num_rows;
    const uint64_t share = sentence->state.workspace.bytes() + Share(common, begin, end, rows_.size());
    cost.decode_seconds += Share(seconds, sentence->num_rows, rows_.size());
    cost.workspace_peak_bytes = std::max(cost.workspace_peak_bytes, share);
    cost.kv_cache_peak_bytes = sentence->state.kv_cache.bytes();
    begin = end;
  }
}

bool Batch::Remove(uint64_t id) {
  if (ended_.erase(id) > 0) return true;
  const auto found = std::find_if(running_.begin(), running_.end(), [&](const auto& s) { return s->id == id; });
  if (found == running_.end()) return false;
  const DecoderState* state = &(*found)->state;
  rows_.erase(std::remove_if(rows_.begin(), rows_.end(), [&](const StepRow& row) { return row.sentence == state; }),
              rows_.end());
  running_.erase(found);
  if (running_.empty()) Reserve();
  return true;
}

const SentenceResult* Batch::Find(uint64_t id) const {
  const auto found = ended_.find(id);
  return found == ended_.end() ? nullptr : &found->second;
}

bool Batch::Has(uint64_t id) const {
  return ended_.count(id) > 0 ||
         std::any_of(running_.begin(), running_.end(), [&](const auto& s) { return s->id == id; });
}

uint64_t Batch::workspace_bytes() const {
  uint64_t bytes = decoder_.workspace_bytes() + logits_memory_.bytes();
  for (const auto& sentence : running_) bytes += sentence->state.workspace.bytes();
  return bytes;
}

uint64_t Batch::kv_cache_bytes() const {
  uint64_t bytes = 0;
  for (const auto& sentence : running_) bytes += sentence->state.kv_cache.bytes();
  return bytes;
}

}  // namespace sub3
