// A running batch: sentences join it between two decoder steps, each with its own search, and leave it when they end or
// are removed. What a sentence gets does not depend on the others, only how fast it gets it.
//
// Accounting. An encoder pass is shared out among the sentences that joined in it by their source tokens, a step among
// the sentences in it by their rows. So is the memory that serves all of them: a pass' scratch by tokens, a step's
// scratch and logits by rows; a sentence's own memory (its rows' histories, its keys and values) is its own. The shares
// of a pass or step add up to the whole, to the byte.

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

// Sums of a sentence's shares; of bytes the largest. Translating a whole batch in one call fills in one for all of it.
struct Cost {
  double encode_seconds = 0, decode_seconds = 0;
  uint64_t workspace_peak_bytes = 0, kv_cache_peak_bytes = 0;
};

struct Source {
  uint64_t id;  // the caller's name, unique in the batch
  const int32_t* tokens;
  size_t num_tokens;
  SearchOptions search;
  uint32_t alignment_layer = 0;  // from 1: whose attention to the source aligns the hypotheses; 0: they are not aligned
};

struct Outcome {
  std::vector<Hypothesis> hypotheses;  // up to beam_size, best first
  Cost cost;
};

class Batch {
 public:
  Batch(const Model& model, const Context& context) : model_(model), context_(context), decoder_(model_, context_) {}
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // Encodes the sources together; they take part from the next step on. If it throws, nobody has joined.
  void Add(const std::vector<Source>& sources);

  // One step of every running sentence; those that ended wait to be removed. After a throw the batch must be destroyed.
  // Returns the ids of the ended.
  std::vector<uint64_t> Step();

  // A sentence leaves, running or ended. False: there is none of that id.
  bool Remove(uint64_t id);

  // What an ended sentence came to, until it is removed. Null: no ended sentence has the id.
  const Outcome* Find(uint64_t id) const;

  bool Has(uint64_t id) const;
  size_t num_running() const { return running_.size(); }
  size_t num_rows() const { return rows_.size(); }
  // Of all running sentences: the time of the passes and steps so far, and the most bytes held at a time.
  const Cost& cost() const { return cost_; }
  // Held now.
  uint64_t workspace_bytes() const;
  uint64_t kv_cache_bytes() const;

 private:
  struct Sentence {
    Sentence(const Source& source)
        : id(source.id),
          search(source.search),
          state(source.num_tokens, source.search.num_rows(), source.search.max_length, source.alignment_layer) {}

    uint64_t id;
    Search search;
    DecoderState state;
    size_t num_rows = 1;
    Cost cost;
  };

  void Reserve();
  void ShareOut(double seconds);

  const Model& model_;
  const Context context_;
  Decoder decoder_;
  std::vector<std::unique_ptr<Sentence>> running_;
  std::vector<StepRow> rows_;  // of the next step, in the order of running_
  std::unordered_map<uint64_t, Outcome> ended_;
  Workspace logits_memory_;
  float* logits_ = nullptr;
  size_t logits_rows_ = 0;
  Cost cost_;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_BATCH_H_
