#include "kernels/network/thread_pool.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace sub3 {

namespace {

constexpr int64_t kSpinNanoseconds = 100'000;   // 1 to 30 us lie between two loops of a step
constexpr int64_t kStallNanoseconds = 200'000;  // a helper this late has lost its core
// How long loops run without helpers: after a stall, some time slices of the work that took the core; after two callers
// met, as long as two clients take to meet again. Two clients got 10 % fewer replies a second with helpers in between;
// with 100 ms one client gained little.
constexpr int64_t kSoloNanoseconds = 25'000'000;

int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool& ThreadPool::OfProcess() {
  static ThreadPool* pool = new ThreadPool;  // never destroyed: helpers may run until the process ends
  return *pool;
}

void ThreadPool::Resize(size_t threads) {
  const std::lock_guard<std::mutex> resizing(resize_);
  const size_t helpers = std::max<size_t>(threads, 1) - 1;
  if (helpers == helpers_.size()) return;
  threads_.store(1, std::memory_order_relaxed);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
  helpers_.clear();
  stop_ = false;
  asleep_.store(0, std::memory_order_relaxed);
  while (helpers_.size() < helpers) helpers_.emplace_back([this] { Help(); });
  threads_.store(helpers + 1, std::memory_order_relaxed);
}

size_t ThreadPool::Width() const {
  const size_t width = MaxWidth();
  if (width == 1 || callers_.load(std::memory_order_relaxed) > 1) return 1;
  const int64_t solo_until = solo_until_.load(std::memory_order_relaxed);
  return solo_until != 0 && Now() < solo_until ? 1 : width;
}

void ThreadPool::Enter() {
  if (callers_.fetch_add(1, std::memory_order_relaxed) > 0) {
    solo_until_.store(Now() + kSoloNanoseconds, std::memory_order_relaxed);
  } else if (Width() > 1) {
    Wake();
  }
}

void ThreadPool::Wake() {
  if (asleep_.load(std::memory_order_seq_cst) == 0) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++wakes_;
    asleep_.store(0, std::memory_order_relaxed);
  }
  wake_.notify_all();
}

void ThreadPool::Run(size_t parts, Function function, const void* body) {
  if (parts <= 1 || shared_.exchange(true, std::memory_order_acquire)) {
    for (size_t part = 0; part < parts; ++part) function(body, part);
    return;
  }
  const uint64_t number = ticket_.load(std::memory_order_relaxed) >> 32;
  const int64_t start = Now();
  function_.store(function, std::memory_order_release);
  body_.store(body, std::memory_order_release);
  parts_.store(static_cast<uint32_t>(parts), std::memory_order_release);
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(number << 32, std::memory_order_seq_cst);  // and only then: who is asleep? See Help
  Wake();
  uint32_t own = 0;
  while (TakePart()) ++own;
  AwaitHelpers(static_cast<uint32_t>(parts) - own, start);
  ticket_.store((number + 1) << 32 | kClosed, std::memory_order_release);
  shared_.store(false, std::memory_order_release);
}

// Runs the next part of the shared loop, if one is left.
bool ThreadPool::TakePart() {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  for (;;) {
    const auto part = static_cast<uint32_t>(ticket);
    if (part >= parts_.load(std::memory_order_acquire)) return false;
    const Function function = function_.load(std::memory_order_acquire);
    const void* body = body_.load(std::memory_order_acquire);
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    function(body, part);
    return true;
  }
}

// Waits for the parts that helpers took, of a loop that started at `start`. A helper that takes much longer than the
// caller did shares its core with other work: the next loops run without helpers.
void ThreadPool::AwaitHelpers(uint32_t helped, int64_t start) {
  if (done_.load(std::memory_order_acquire) == helped) return;
  const int64_t waiting = Now(), patience = waiting - start + kStallNanoseconds;
  bool stalled = false;
  for (uint32_t spins = 1; done_.load(std::memory_order_acquire) != helped; ++spins) {
    Pause();
    if (spins % 64 != 0) continue;
    stalled = stalled || Now() - waiting > patience;
    if (stalled) std::this_thread::yield();  // the helper may want this very core
  }
  if (stalled) solo_until_.store(Now() + kSoloNanoseconds, std::memory_order_relaxed);
}

void ThreadPool::Help() {
  int64_t idle = Now();
  for (uint32_t spins = 1;; ++spins) {
    if (TakePart()) {
      done_.fetch_add(1, std::memory_order_release);
      spins = 0;
      continue;
    }
    Pause();
    if (spins == 1) idle = Now();
    if (spins % 64 != 0 || Now() - idle < kSpinNanoseconds) continue;
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t wakes = wakes_;
    asleep_.fetch_add(1, std::memory_order_seq_cst);  // and only then: is there a loop? One of both sees the other
    const bool open = static_cast<uint32_t>(ticket_.load(std::memory_order_seq_cst)) != kClosed;
    wake_.wait(lock, [&] { return stop_ || open || wakes_ != wakes; });
    if (stop_) return;
    spins = 0;
  }
}

}  // namespace sub3
