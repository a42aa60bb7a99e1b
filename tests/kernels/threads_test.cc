// Eight threads translate on shared models, greedily, by beam, in running batches, some cancelled or interrupted by
// another thread, while that thread creates models, swaps the shared reference and lets the last reader destroy the old
// one, as the service does. Every translation is the one of the model that it began on. Built with SUB3_SANITIZE=thread
// this is the proof that the engine has no data race.

#include <atomic>
#include <memory>
#include <thread>

#include "kernels/network/thread_pool.h"
#include "tests/kernels/tiny_model.h"

namespace {

constexpr int kThreads = 8, kRounds = 36;
const uint32_t kBeams[] = {1, 2, 4};

// What a beam of every width finds on one model.
struct Expected {
  std::vector<Call> calls;

  explicit Expected(const sub3_model* model) {
    calls.reserve(3);  // a Call points into itself
    for (uint32_t beam : kBeams) {
      calls.emplace_back(beam, beam);
      CHECK(sub3_translate(model, &calls.back().request, &calls.back().result) == SUB3_OK);
    }
  }
};

bool Same(const Call& a, const Call& b) {
  return a.lengths == b.lengths && a.scores == b.scores && a.out_tokens == b.out_tokens;
}

// A live model; the last reference destroys it.
struct Live {
  sub3_model* model = nullptr;
  const Expected* expected = nullptr;

  Live(Tables* tables, const Expected* found) : expected(found) { CHECK(tables->Create(&model) == SUB3_OK); }
  ~Live() { sub3_model_destroy(model); }
  Live(const Live&) = delete;
  Live& operator=(const Live&) = delete;
};

// What the threads share. The flags are the C ABI's: int32 that are read and written atomically.
struct Shared {
  std::shared_ptr<Live> live;  // by std::atomic_load and std::atomic_exchange
  int32_t cancel[kThreads] = {}, interrupt[kThreads] = {};
  std::atomic<int> cancelled{0}, running{kThreads};
};

void Set(int32_t* flag, int32_t value) { __atomic_store_n(flag, value, __ATOMIC_RELAXED); }

void TranslateOnce(const Live& live, size_t beam, bool cancel_at_once, int thread, Shared* shared) {
  Call call(kBeams[beam], kBeams[beam]);
  call.request.cancel = &shared->cancel[thread];
  Set(&shared->cancel[thread], cancel_at_once);
  const int32_t status = sub3_translate(live.model, &call.request, &call.result);
  CHECK(status == SUB3_OK || status == SUB3_CANCELLED);
  if (cancel_at_once) CHECK(status == SUB3_CANCELLED);
  if (status == SUB3_OK) CHECK(Same(call, live.expected->calls[beam]));
  if (status == SUB3_CANCELLED) {
    CHECK(std::strcmp(sub3_last_error(), "The call was cancelled.") == 0);
    ++shared->cancelled;
  }
}

// The call's three sources join one after the other and leave as they end.
void RunBatch(const Live& live, size_t beam, int thread, Shared* shared) {
  const uint64_t width = kBeams[beam];
  Call call(kBeams[beam], kBeams[beam]);
  sub3_batch* batch = nullptr;
  CHECK(sub3_batch_create(live.model, &batch) == SUB3_OK);
  for (uint64_t joined = 0, taken = 0; taken < 3;) {
    if (joined < 3) {
      const sub3_sentence sentence = Sentence(call, joined++, kBeams[beam]);
      CHECK(sub3_batch_add(batch, &sentence, 1) == SUB3_OK);
    }
    uint64_t ended[3];
    sub3_progress progress{ended, 3, 0, 0, 0, 0, 0, 0};
    Set(&shared->interrupt[thread], 0);
    CHECK(sub3_batch_step(batch, joined < 3 ? 2 : 100, &shared->interrupt[thread], &progress) == SUB3_OK);
    for (uint64_t i = 0; i < progress.num_ended; ++i, ++taken) {
      const uint64_t first = ended[i] * width;
      sub3_result result =
          ResultOf(call.out_tokens.data() + first * 20, call.lengths.data() + first, call.scores.data() + first, width);
      CHECK(sub3_batch_take(batch, ended[i], &result) == SUB3_OK);
    }
  }
  sub3_batch_destroy(batch);
  CHECK(Same(call, live.expected->calls[beam]));
}

void Work(int thread, Shared* shared) {
  for (int round = 0; round < kRounds; ++round) {
    const std::shared_ptr<Live> live = std::atomic_load(&shared->live);
    const size_t beam = static_cast<size_t>(thread + round) % 3;
    if (round % 3 == 2) {
      RunBatch(*live, beam, thread, shared);
    } else {
      TranslateOnce(*live, beam, round % 12 == 1, thread, shared);
    }
  }
  --shared->running;
}

// Both parts must run at once to end: a helper takes one, whenever it was asleep before.
void TestHelper() {
  sub3::ThreadPool pool;
  pool.Resize(2);
  for (int round = 0; round < 20; ++round) {
    if (round % 5 == 0) pool.Resize(1), pool.Resize(2);  // a helper that has just begun
    const sub3::ThreadPool::Caller caller(&pool);
    std::atomic<int> arrived{0};
    pool.ForParts(2, [&](size_t) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
    CHECK(arrived == 2);
  }
}

// A pool whose size changes serves callers, more than it has threads: each part of each loop is run once.
void TestPool() {
  sub3::ThreadPool pool;
  std::atomic<int> running{4};
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 3000; ++round) {
        const sub3::ThreadPool::Caller caller(&pool);
        const size_t parts = static_cast<size_t>(round) % 5;
        int runs[5] = {};  // not atomic: the loop's end is what orders the parts' writes before our reads
        pool.ForParts(parts, [&](size_t part) { ++runs[part]; });
        for (size_t part = 0; part < 5; ++part) CHECK(runs[part] == (part < parts));
      }
      --running;
    });
  }
  for (size_t threads = 1; running > 0; threads = threads % 3 + 1) {
    pool.Resize(threads);
    CHECK(pool.threads() == threads);
    std::this_thread::yield();
  }
  for (std::thread& caller : callers) caller.join();
}

}  // namespace

int main() {
  // The first calls of a process choose the instruction set: all threads at once.
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) threads.emplace_back([] { CHECK(sub3_isa() != nullptr); });
  for (std::thread& thread : threads) thread.join();
  threads.clear();
  TestHelper();
  TestPool();

  Tables tables[] = {Tables(SUB3_SWISH, false, false, 7), Tables(SUB3_GELU, true, true, 8)};
  std::vector<Expected> expected;
  expected.reserve(2);
  for (Tables& each : tables) expected.emplace_back(Live(&each, nullptr).model);
  CHECK(!Same(expected[0].calls[0], expected[1].calls[0]));

  CHECK(sub3_set_threads(2) == SUB3_OK);  // before and after, each call is alone at times
  Shared shared;
  shared.live = std::make_shared<Live>(&tables[0], &expected[0]);
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(Work, t, &shared);
  int swaps = 0;
  while (shared.running > 0) {
    const int other = ++swaps % 2;
    std::shared_ptr<Live> old =
        std::atomic_exchange(&shared.live, std::make_shared<Live>(&tables[other], &expected[other]));
    Set(&shared.cancel[swaps % kThreads], 1);
    Set(&shared.interrupt[swaps * 3 % kThreads], 1);
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(sub3_set_threads(1) == SUB3_OK);
  CHECK(shared.cancelled >= kThreads * 2);
  std::printf("threads test on %s: %d swaps, %d calls cancelled, all others right\n", sub3_isa(), swaps,
              shared.cancelled.load());
  return 0;
}
