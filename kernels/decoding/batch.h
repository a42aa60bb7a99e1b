// Continuous batching: sentences join a running batch between two decoder steps, each with its own search, and leave
// when they end or are removed. The result of a sentence does not depend on the others in the batch.
//
// Accounting: the time of an encoder pass is divided among its sentences in proportion to their source tokens, that of
// a step in proportion to their rows. Shared memory is divided likewise: the scratch of a pass by tokens, the scratch
// and logits of a step by rows. Histories, keys and values belong to one sentence. The shares of a pass or step add up
// to the whole, to the byte.

#ifndef SUB3_KERNELS_BATCH_H_
#define SUB3_KERNELS_BATCH_H_

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "kernels/decoding/search.h"
#include "kernels/network/model.h"
#include "kernels/network/transformer.h"

namespace sub3 {

// The sums of the shares of a sentence, or of a whole batch; of bytes the largest.
struct Cost {
  double encode_seconds = 0, decode_seconds = 0;
  uint64_t workspace_peak_bytes = 0, kv_cache_peak_bytes = 0;
};

struct Source {
  uint64_t id;  // chosen by the caller, unique in the batch
  const int32_t* tokens;
  size_t num_tokens;
  SearchOptions search;
  uint32_t alignment_layer = 0;  // decoder layer, from 1, whose cross-attention aligns the hypotheses; 0: no alignment
};

struct SentenceResult {
  std::vector<Hypothesis> hypotheses;  // up to beam_size, best first
  Cost cost;
};

class Batch {
 public:
  Batch(const Model& model, const Context& context) : model_(model), context_(context), decoder_(model_, context_) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Encodes the sources together; they run from the next step on. If it throws, the batch is unchanged.
  void Add(const std::vector<Source>& sources);

  // Takes one step of every running sentence and returns the ids of those that ended; they wait to be removed. If it
  // throws, the batch must be destroyed.
  std::vector<uint64_t> Step();

  // Removes a sentence, running or ended. Returns false if no sentence has the id.
  bool Remove(uint64_t id);

  // The result of an ended sentence, or nullptr if no ended sentence has the id. Valid until Remove(id).
  const SentenceResult* Find(uint64_t id) const;

  bool Has(uint64_t id) const;
  size_t num_running() const { return running_.size(); }
  size_t num_rows() const { return rows_.size(); }
  // Of the whole batch: the time of all passes and steps so far, and the most bytes held at a time.
  const Cost& cost() const { return cost_; }
  // Bytes held now.
  uint64_t workspace_bytes() const;
  uint64_t kv_cache_bytes() const;

 private:
  struct Sentence {
    Sentence(const Model& model, const Source& source)
        : id(source.id),
          num_logits(source.search.vocab_size),
          search(source.search),
          state(model, source.num_tokens, source.search.num_rows(), source.search.max_length, source.alignment_layer) {
      if (!source.search.candidates.empty()) state.Shortlist(model.output, source.search.candidates);
    }

    uint64_t id;
    size_t num_logits;  // of a row
    Search search;
    DecoderState state;
    size_t num_rows = 1;
    Cost cost;
  };

  void Reserve();
  void Suppress(size_t num_rows, float* logits) const;
  void AddCosts(double seconds);

  const Model& model_;
  const Context context_;
  Decoder decoder_;
  std::vector<std::unique_ptr<Sentence>> running_;
  std::vector<StepRow> rows_;  // of the next step, in the order of running_
  std::unordered_map<uint64_t, SentenceResult> ended_;
  Workspace logits_memory_;
  float* logits_ = nullptr;
  size_t num_logits_ = 0;
  Cost cost_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_BATCH_H_
