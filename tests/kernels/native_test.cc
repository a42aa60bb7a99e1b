// The engine through its C ABI, without Python, so that sanitizers see all of it: a tiny random model is built,
// translated with, batched, cancelled and broken in every field. Exits non-zero at the first failure.

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "tests/kernels/tiny_model.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
extern "C" size_t __sanitizer_get_current_allocated_bytes(void);  // its header is not installed everywhere
#endif

namespace {

void TestTranslates(bool ssru) {
  Tables tables(SUB3_SWISH, false, ssru);
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  uint64_t bytes = 0;
  for (const sub3_tensor& tensor : tables.tensors) bytes += tensor.bytes;
  CHECK(sub3_model_weight_bytes(model) == bytes);
  for (uint32_t beam : {1u, 2u, 5u}) {
    Call call(beam, beam);
    CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_OK);
    for (size_t slot = 0; slot < call.lengths.size(); ++slot) {
      const uint32_t limit = call.max_lengths[slot / beam];
      CHECK(call.lengths[slot] >= -1 && call.lengths[slot] <= static_cast<int32_t>(limit));
      CHECK(std::isfinite(call.scores[slot]) && call.scores[slot] <= 0);
      if (slot % beam != 0 && call.lengths[slot] >= 0) CHECK(call.scores[slot] <= call.scores[slot - 1]);
      for (int32_t i = 0; i < call.lengths[slot]; ++i) CHECK(call.out_tokens[slot * 20 + i] != kPad);
    }
    CHECK(call.result.workspace_peak_bytes > 0 && call.result.kv_cache_peak_bytes > 0);
  }
  sub3_model_destroy(model);
}

void TestThreadsShareAModel(bool ssru) {
  Tables tables(SUB3_SWISH, false, ssru);
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  Call expected(3, 2);
  CHECK(sub3_translate(model, &expected.request, &expected.result) == SUB3_OK);
  std::vector<Call> calls;
  calls.reserve(4);
  for (int i = 0; i < 4; ++i) calls.emplace_back(3, 2);
  std::vector<std::thread> threads;
  threads.reserve(calls.size());
  for (Call& call : calls) {
    threads.emplace_back([&] { sub3_translate(model, &call.request, &call.result); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Call& call : calls) CHECK(call.lengths == expected.lengths && call.scores == expected.scores);
  sub3_model_destroy(model);
}

void TestMinimumLengthAndCancel() {
  Tables tables;
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  Call call;
  call.request.min_length = 5;
  CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_OK);
  for (int32_t length : call.lengths) CHECK(length >= 5);
  call.cancel = 1;
  CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_CANCELLED);
  sub3_model_destroy(model);
}

// The phrases 7 8, or 9 alone, and 10: of every source of a call, or of a sentence.
struct Phrases {
  std::vector<int32_t> tokens{7, 8, 9, 10};
  std::vector<sub3_phrase> phrases;
  std::vector<uint64_t> offsets{0};

  explicit Phrases(size_t sentences) {
    for (size_t i = 0; i < sentences; ++i) {
      phrases.insert(phrases.end(), {{tokens.data(), 2, 0}, {tokens.data() + 2, 1, 0}, {tokens.data() + 3, 1, 1}});
      offsets.push_back(phrases.size());
    }
  }

  bool AreIn(const int32_t* ids, int32_t length) const {
    bool first = false, second = false;
    for (int32_t t = 0; t < length; ++t) {
      first = first || ids[t] == 9 || (ids[t] == 7 && t + 1 < length && ids[t + 1] == 8);
      second = second || ids[t] == 10;
    }
    return first && second;
  }
};

// Every hypothesis has the phrases, in one call as in a batch that sentences join one after the other.
void TestPhrases(bool ssru) {
  Tables tables(SUB3_SWISH, false, ssru);
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  const Phrases phrases(3);
  for (uint32_t beam : {1u, 3u, 9u}) {
    Call call(beam, beam);
    call.request.phrases = phrases.phrases.data();
    call.request.num_phrases = phrases.phrases.size();
    call.request.phrase_offsets = phrases.offsets.data();
    CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_OK);
    for (size_t slot = 0; slot < call.lengths.size(); ++slot) {
      CHECK(call.lengths[slot] < 0 || phrases.AreIn(call.out_tokens.data() + slot * 20, call.lengths[slot]));
      CHECK(slot % beam != 0 || call.lengths[slot] >= 0);
    }
    sub3_batch* batch = nullptr;
    CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
    for (uint64_t id = 0, taken = 0; taken < 3; ++id) {
      if (id < 3) {
        sub3_sentence sentence = Sentence(call, id, beam);
        sentence.phrases = phrases.phrases.data();
        sentence.num_phrases = 3;
        CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_OK);
      }
      sub3_progress progress;
      std::vector<uint64_t> ended(3);
      progress = {ended.data(), ended.size(), 0, 0, 0, 0, 0, 0};
      CHECK(sub3_batch_step(batch, 1, nullptr, &progress) == SUB3_OK);
      for (uint64_t e = 0; e < progress.num_ended; ++e, ++taken) {
        std::vector<int32_t> tokens(size_t{beam} * 20), lengths(beam);
        std::vector<float> scores(beam);
        sub3_result result = ResultOf(tokens.data(), lengths.data(), scores.data(), beam);
        CHECK(sub3_batch_take(batch, ended[e], &result) == SUB3_OK);
        for (uint32_t h = 0; h < beam; ++h) {
          CHECK(lengths[h] == call.lengths[ended[e] * beam + h]);
          CHECK(scores[h] == call.scores[ended[e] * beam + h]);
        }
      }
    }
    sub3_batch_destroy(batch);
  }
  // whatever has no room is as good as it gets
  Call narrow;
  narrow.max_lengths = {1, 1, 1};
  narrow.request.phrases = phrases.phrases.data();
  narrow.request.num_phrases = phrases.phrases.size();
  narrow.request.phrase_offsets = phrases.offsets.data();
  CHECK(sub3_translate(model, &narrow.request, &narrow.result) == SUB3_OK);
  for (int32_t length : narrow.lengths) CHECK(length == 1);
  sub3_model_destroy(model);
}

template <typename Change>
void RefusedPhrases(const sub3_model* model, Change change) {
  Phrases phrases(3);
  Call call;
  call.request.phrases = phrases.phrases.data();
  call.request.num_phrases = phrases.phrases.size();
  call.request.phrase_offsets = phrases.offsets.data();
  change(phrases, call.request);
  CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_INVALID_REQUEST);
}

void TestBadPhrases() {
  Tables tables;
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.tokens[1] = -1; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.tokens[1] = static_cast<int32_t>(kVocab); });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.tokens[1] = kEos; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.tokens[1] = kPad; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.phrases[1].tokens = nullptr; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.phrases[1].num_tokens = 0; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.phrases[1].num_tokens = ~uint64_t{0}; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.phrases[1].constraint = SUB3_MAX_CONSTRAINTS; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.phrases[1].constraint = 0xffffffff; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.offsets[1] = 100; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.offsets[1] = 8; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.offsets[3] = 8; });
  RefusedPhrases(model, [](Phrases& p, sub3_request&) { p.offsets[0] = 1; });
  RefusedPhrases(model, [](Phrases&, sub3_request& r) { r.phrases = nullptr; });
  RefusedPhrases(model, [](Phrases&, sub3_request& r) { r.phrase_offsets = nullptr; });
  RefusedPhrases(model, [](Phrases&, sub3_request& r) { r.num_phrases = 0; });
  RefusedPhrases(model, [](Phrases&, sub3_request& r) { r.num_phrases = ~uint64_t{0}; });
  Call call;
  sub3_batch* batch = nullptr;
  CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
  const Phrases phrases(1);
  sub3_sentence sentence = Sentence(call, 0, 1);
  sentence.phrases = phrases.phrases.data();
  for (uint64_t count : {uint64_t{SUB3_MAX_PHRASES} + 1, ~uint64_t{0}}) {
    sentence.num_phrases = count;
    CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_INVALID_REQUEST);
  }
  sentence = Sentence(call, 0, 1);
  sentence.num_phrases = 3;
  CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_INVALID_REQUEST);
  sub3_batch_destroy(batch);
  sub3_model_destroy(model);
}

// One step; the ids of the ended.
std::vector<uint64_t> Step(sub3_batch* batch, sub3_progress* progress) {
  std::vector<uint64_t> ended(16);
  *progress = {ended.data(), ended.size(), 0, 0, 0, 0, 0, 0};
  CHECK(sub3_batch_step(batch, 1, nullptr, progress) == SUB3_OK);
  ended.resize(progress->num_ended);
  return ended;
}

// Heap bytes in use by this thread's arena.
uint64_t HeapBytes() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return __sanitizer_get_current_allocated_bytes();
#else
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
#endif
}

// Sentences come at different steps and get what they get in one call; the allocator sees what the batch says it holds.
void TestBatch(bool ssru) {
  Tables tables(SUB3_SWISH, false, ssru);
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  for (uint32_t beam : {1u, 3u}) {
    Call expected(beam, beam), call(beam, beam);
    CHECK(sub3_translate(model, &expected.request, &expected.result) == SUB3_OK);
    sub3_batch* batch = nullptr;
    CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
    const uint64_t heap_before = HeapBytes();
    uint64_t joined = 0, taken = 0;
    while (taken < 3) {
      if (joined < 3) {
        const sub3_sentence sentence = Sentence(call, joined++, beam);
        CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_OK);
        CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_INVALID_REQUEST);
      }
      sub3_progress progress;
      const std::vector<uint64_t> ended = Step(batch, &progress);
      const double held = static_cast<double>(HeapBytes() - heap_before);
      const double stated = static_cast<double>(progress.workspace_bytes + progress.kv_cache_bytes);
      CHECK(held >= stated && held <= 1.25 * stated + 16384);  // vectors, trees and the allocator's own
      for (uint64_t id : ended) {
        const uint64_t first = id * beam;
        sub3_result result = ResultOf(call.out_tokens.data() + first * 20, call.lengths.data() + first,
                                      call.scores.data() + first, beam);
        CHECK(sub3_batch_take(batch, id, &result) == SUB3_OK);
        CHECK(result.workspace_peak_bytes > 0 && result.kv_cache_peak_bytes > 0 && result.decode_seconds > 0);
        CHECK(sub3_batch_take(batch, id, &result) == SUB3_INVALID_REQUEST);
        ++taken;
      }
    }
    CHECK(call.lengths == expected.lengths && call.scores == expected.scores);
    for (size_t slot = 0; slot < call.lengths.size(); ++slot) {
      for (int32_t t = 0; t < call.lengths[slot]; ++t) {
        CHECK(call.out_tokens[slot * 20 + t] == expected.out_tokens[slot * 20 + t]);
      }
    }
    sub3_batch_destroy(batch);
  }
  sub3_model_destroy(model);
}

// Every token is a candidate of its source, eos and the phrases' tokens among them, in one call as in a batch with
// sentences that have no shortlist.
void TestShortlist(bool ssru) {
  Tables tables(SUB3_SWISH, false, ssru);
  tables.AddShortlist();
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  const Phrases phrases(3);
  for (uint32_t beam : {1u, 3u}) {
    Call call(beam, beam);
    call.request.shortlist = 1;
    call.request.phrases = phrases.phrases.data();
    call.request.num_phrases = phrases.phrases.size();
    call.request.phrase_offsets = phrases.offsets.data();
    CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_OK);
    sub3_batch* batch = nullptr;
    CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
    for (uint64_t id = 0; id < 3; ++id) {
      std::vector<int32_t> candidates{3, kEos};
      candidates.insert(candidates.end(), phrases.tokens.begin(), phrases.tokens.end());
      for (uint64_t i = call.offsets[id]; i < call.offsets[id + 1]; ++i) {
        const int32_t source = call.tokens[i];
        for (int32_t k = 0; k < source % 7; ++k)
          candidates.push_back((source * 31 + k * 17) % static_cast<int32_t>(kVocab));
      }
      for (uint32_t h = 0; h < beam; ++h) {
        const size_t slot = id * beam + h;
        for (int32_t t = 0; t < call.lengths[slot]; ++t) {
          const int32_t token = call.out_tokens[slot * 20 + t];
          CHECK(token != kPad && std::find(candidates.begin(), candidates.end(), token) != candidates.end());
        }
      }
      sub3_sentence sentences[2] = {Sentence(call, id, beam), Sentence(call, id, beam)};
      sentences[0].phrases = phrases.phrases.data(), sentences[0].num_phrases = 3;
      sentences[0].shortlist = 1, sentences[1].id = 10 + id;
      CHECK(sub3_batch_add(batch, sentences, 2) == SUB3_OK);
    }
    for (size_t taken = 0; taken < 6;) {
      sub3_progress progress;
      for (uint64_t id : Step(batch, &progress)) {
        std::vector<int32_t> tokens(size_t{beam} * 20), lengths(beam);
        std::vector<float> scores(beam);
        sub3_result result = ResultOf(tokens.data(), lengths.data(), scores.data(), beam);
        CHECK(sub3_batch_take(batch, id, &result) == SUB3_OK);
        for (uint32_t h = 0; id < 3 && h < beam; ++h) {
          CHECK(lengths[h] == call.lengths[id * beam + h] && scores[h] == call.scores[id * beam + h]);
        }
        ++taken;
      }
    }
    sub3_batch_destroy(batch);
  }
  sub3_model_destroy(model);
}

// Two sentences change places for as long as many have come and gone: the heap does not grow.
void TestBatchLivesLong() {
  Tables tables;
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  Call call;
  sub3_batch* batch = nullptr;
  CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
  uint64_t early = 0, late = 0;
  for (uint64_t id = 0; id < 1000; ++id) {
    sub3_sentence sentence = Sentence(call, 2, 2);
    sentence.id = id;
    CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_OK);
    sub3_progress progress;
    for (int step = 0; step < 3; ++step) {
      for (uint64_t ended : Step(batch, &progress)) CHECK(sub3_batch_remove(batch, ended) == SUB3_OK);
    }
    if (id >= 4) sub3_batch_remove(batch, id - 4);  // whether or not it has ended by itself
    uint64_t& peak = id < 200 ? early : late;
    peak = std::max(peak, HeapBytes());
  }
  CHECK(late <= early + early / 50);
  sub3_batch_destroy(batch);
  sub3_model_destroy(model);
}

void TestBadBatches() {
  Tables tables;
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  Call call;
  sub3_batch* batch = nullptr;
  CHECK(sub3_batch_create(nullptr, &batch) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_create(model, nullptr) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_create(model, &batch) == SUB3_OK);
  const auto refused = [&](auto change) {
    sub3_sentence sentences[2] = {Sentence(call, 0, 2), Sentence(call, 1, 2)};
    change(sentences[1]);
    CHECK(sub3_batch_add(batch, sentences, 2) == SUB3_INVALID_REQUEST);
    CHECK(sub3_batch_remove(batch, 0) == SUB3_INVALID_REQUEST);  // the good one did not join either
  };
  refused([](sub3_sentence& s) { s.id = 0; });
  refused([](sub3_sentence& s) { s.tokens = nullptr; });
  refused([](sub3_sentence& s) { s.num_tokens = 0; });
  refused([](sub3_sentence& s) { s.num_tokens = kPositions + 1; });
  refused([](sub3_sentence& s) { s.num_tokens = ~uint64_t{0}; });
  refused([](sub3_sentence& s) { s.max_length = 0; });
  refused([](sub3_sentence& s) { s.max_length = kPositions + 1; });
  refused([](sub3_sentence& s) { s.beam_size = 0; });
  refused([](sub3_sentence& s) { s.beam_size = 65; });
  refused([](sub3_sentence& s) { s.length_penalty = NAN; });
  refused([](sub3_sentence& s) { s.alignment_layer = 1000; });
  CHECK(sub3_batch_add(batch, nullptr, 1) == SUB3_INVALID_REQUEST);
  const sub3_sentence sentence = Sentence(call, 0, 1);
  CHECK(sub3_batch_add(nullptr, &sentence, 1) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_add(batch, &sentence, 0) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_OK);
  sub3_progress progress{};
  CHECK(sub3_batch_step(batch, 1, nullptr, &progress) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_step(batch, 1, nullptr, nullptr) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_take(batch, 0, &call.result) == SUB3_INVALID_REQUEST);  // it runs
  while (Step(batch, &progress).empty()) {
  }
  call.result.num_slots = 0;
  CHECK(sub3_batch_take(batch, 0, &call.result) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_take(batch, 0, nullptr) == SUB3_INVALID_REQUEST);
  CHECK(sub3_batch_remove(batch, 0) == SUB3_OK);  // still there after every refusal
  CHECK(sub3_batch_remove(nullptr, 0) == SUB3_INVALID_REQUEST);
  sub3_batch_destroy(batch);
  sub3_batch_destroy(nullptr);
  sub3_model_destroy(model);
}

template <typename Change>
void Refused(int32_t status, Change change) {
  Tables tables;
  sub3_model* model = nullptr;
  change(tables);
  CHECK(tables.Create(&model) == status);
  CHECK(model == nullptr && std::strlen(sub3_last_error()) > 10);
}

void TestBadModels() {
  const int32_t bad = SUB3_INVALID_MODEL;
  Refused(bad, [](Tables& t) { t.config.d_model = 0; });
  Refused(bad, [](Tables& t) { t.config.d_model = 47; });
  Refused(bad, [](Tables& t) { t.config.d_model = 0xffffffff; });
  Refused(bad, [](Tables& t) { t.config.decoder_heads = 7; });
  Refused(bad, [](Tables& t) { t.config.encoder_layers = 3; });
  Refused(bad, [](Tables& t) { t.config.decoder_layers = 1u << 30; });
  Refused(bad, [](Tables& t) { t.config.target_vocab_size = 71; });
  Refused(bad, [](Tables& t) { t.config.activation = 9; });
  Refused(bad, [](Tables& t) { t.config.norm_epsilon = NAN; });
  Refused(bad, [](Tables& t) { t.config.max_positions = 1u << 31; });
  Refused(bad, [](Tables& t) { t.config.eos = -1; });
  Refused(bad, [](Tables& t) { t.config.decoder_start = kVocab; });
  Refused(bad, [](Tables& t) { t.suppressed[0] = kVocab; });
  Refused(bad, [](Tables& t) { t.suppressed[0] = kEos; });
  Refused(bad, [](Tables& t) { t.config.suppressed = nullptr; });
  Refused(bad, [](Tables& t) { t.config.tied_output = 0; });
  Refused(bad, [](Tables& t) { t.config.pre_norm = 1; });
  Refused(bad, [](Tables& t) { t.config.ssru = 1; });
  Refused(bad, [](Tables& t) { t.config.positions = 3; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].data = nullptr; });
  Refused(bad,
          [](Tables& t) { t["embedding.plane.1"].data = static_cast<const char*>(t["embedding.plane.1"].data) + 1; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].bytes -= 1; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].name = nullptr; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].name = "embedding.plane.2"; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].dtype = SUB3_FLOAT32; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].dtype = 77; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].num_dims = 4; });
  Refused(bad, [](Tables& t) { t["embedding.plane.1"].num_dims = 0; });
  for (uint64_t huge : {uint64_t{0}, uint64_t{1} << 32, uint64_t{1} << 62, ~uint64_t{0}}) {
    for (int d = 0; d < 3; ++d) {
      Refused(bad, [&](Tables& t) { t["encoder.0.ffn.inner.plane.1"].shape[d] = huge; });
      Refused(bad, [&](Tables& t) { t["encoder.0.ffn.inner.scales.4"].shape[d] = huge; });
    }
    Refused(bad, [&](Tables& t) { t["encoder.0.ffn.inner.bias"].shape[0] = huge; });
    Refused(bad, [&](Tables& t) { t.segments[0].end = huge; });
    if (huge != 0) Refused(bad, [&](Tables& t) { t.segments[0].begin = huge; });
    if (huge != 0) Refused(bad, [&](Tables& t) { t.segments[0].scale_begin = huge; });
    if (huge != 0) Refused(bad, [&](Tables& t) { t.segments[0].group_size = huge; });
  }
  Refused(bad, [](Tables& t) { t.segments[0].planes = 0; });
  Refused(bad, [](Tables& t) { t.segments[0].planes = 4; });
  Refused(bad, [](Tables& t) { t.segments[0].planes = 0xffffffff; });
  Refused(bad, [](Tables& t) { t.segments[0].matrix = nullptr; });
  Refused(bad, [](Tables& t) { t.segments.pop_back(); });
  Refused(bad, [](Tables& t) { t.tensors.pop_back(); });
}

void TestBadShortlists() {
  const int32_t bad = SUB3_INVALID_MODEL;
  const auto refused = [&](auto change) {
    Refused(bad, [&](Tables& t) {
      t.AddShortlist();
      change(t);
    });
  };
  const auto numbers = [](Tables& t, const char* name) { return reinterpret_cast<uint32_t*>(t.data[name].data()); };
  refused([&](Tables& t) { numbers(t, "shortlist.always")[1] = kVocab; });
  refused([&](Tables& t) { numbers(t, "shortlist.rows")[7] = 0xffffffff; });
  refused([&](Tables& t) { numbers(t, "shortlist.offsets")[0] = 1; });
  refused([&](Tables& t) { numbers(t, "shortlist.offsets")[5] = 0xffffffff; });
  refused([&](Tables& t) { ++numbers(t, "shortlist.offsets")[kVocab]; });
  refused([](Tables& t) { t["shortlist.rows"].dtype = SUB3_FLOAT32; });
  refused([](Tables& t) { t["shortlist.offsets"].name = "another"; });
  refused([](Tables& t) { t["shortlist.rows"].name = "another"; });
  refused([](Tables& t) { t["shortlist.always"].name = "another"; });
  refused([](Tables& t) {
    sub3_tensor& offsets = t["shortlist.offsets"];
    --offsets.shape[0], offsets.bytes -= 4;
  });
}

template <typename Change>
void RefusedCall(const sub3_model* model, Change change) {
  Call call(2, 2);
  change(call);
  CHECK(sub3_translate(model, &call.request, &call.result) == SUB3_INVALID_REQUEST);
}

void TestBadRequests() {
  Tables tables;
  sub3_model* model = nullptr;
  CHECK(tables.Create(&model) == SUB3_OK);
  RefusedCall(model, [](Call& c) { c.tokens[0] = -1; });
  RefusedCall(model, [](Call& c) { c.tokens[0] = static_cast<int32_t>(kVocab); });
  RefusedCall(model, [](Call& c) { c.offsets[1] = 0; });
  RefusedCall(model, [](Call& c) { c.offsets[1] = ~uint64_t{0}; });
  RefusedCall(model, [](Call& c) { c.offsets[3] = 14; });
  RefusedCall(model, [](Call& c) { c.offsets[0] = 1; });
  RefusedCall(model, [](Call& c) { c.max_lengths[1] = 0; });
  RefusedCall(model, [](Call& c) { c.max_lengths[1] = 21; });
  RefusedCall(model, [](Call& c) { c.max_lengths[1] = kPositions + 1; });
  RefusedCall(model, [](Call& c) { c.request.num_sources = 0; });
  RefusedCall(model, [](Call& c) { c.request.beam_size = 0; });
  RefusedCall(model, [](Call& c) { c.request.beam_size = 65; });
  RefusedCall(model, [](Call& c) { c.request.num_hypotheses = 3; });
  RefusedCall(model, [](Call& c) { c.request.length_penalty = NAN; });
  RefusedCall(model, [](Call& c) { c.request.tokens = nullptr; });
  RefusedCall(model, [](Call& c) { c.request.shortlist = 1; });  // the model has none
  RefusedCall(model, [](Call& c) { c.result.tokens = nullptr; });
  RefusedCall(model, [](Call& c) { c.result.num_slots = 5; });
  RefusedCall(model, [](Call& c) { c.result.num_tokens = 119; });
  Call call;
  CHECK(sub3_translate(nullptr, &call.request, &call.result) == SUB3_INVALID_REQUEST);
  CHECK(sub3_translate(model, nullptr, &call.result) == SUB3_INVALID_REQUEST);
  std::vector<float> logits(size_t{2} * kVocab);
  const int32_t target[] = {kPad, 4};
  CHECK(sub3_logits(model, call.tokens.data(), 4, target, 2, logits.data(), logits.size()) == SUB3_OK);
  CHECK(sub3_logits(model, call.tokens.data(), 4, target, 2, logits.data(), 1) == SUB3_INVALID_REQUEST);
  CHECK(sub3_logits(model, call.tokens.data(), 0, target, 2, logits.data(), logits.size()) == SUB3_INVALID_REQUEST);
  sub3_model_destroy(model);
}

}  // namespace

int main() {
  std::printf("native test on %s\n", sub3_isa());
  for (bool ssru : {false, true}) {
    TestTranslates(ssru);
    TestThreadsShareAModel(ssru);
    TestPhrases(ssru);
    TestBatch(ssru);
    TestShortlist(ssru);
  }
  TestBatchLivesLong();
  TestMinimumLengthAndCancel();
  TestBadPhrases();
  TestBadBatches();
  TestBadModels();
  TestBadShortlists();
  TestBadRequests();
  std::printf("native test: %d checks hold\n", checks.load());
  return 0;
}
