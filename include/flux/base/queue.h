// A bounded queue between threads that also hands over the producer's failure.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

namespace flux {

template <class T>
class BoundedQueue {
public:
    explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

    /// Waits for room. False once the queue is closed: the producer should stop.
    bool push(T value) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return closed_ || values_.size() < capacity_; });
        if (closed_) {
            return false;
        }
        values_.push_back(std::move(value));
        filled_.notify_one();
        return true;
    }

    /// Waits for a value; nothing once the queue is closed and empty. Rethrows what close() was
    /// given.
    std::optional<T> pop() {
        std::unique_lock lock(mutex_);
        filled_.wait(lock, [&] { return closed_ || !values_.empty(); });
        if (values_.empty()) {
            if (problem_) {
                std::rethrow_exception(problem_);
            }
            return std::nullopt;
        }
        std::optional<T> value(std::move(values_.front()));
        values_.pop_front();
        room_.notify_one();
        return value;
    }

    /// No more values come; a waiting producer gives up. Safe to call from any side, more than
    /// once.
    void close(std::exception_ptr problem = nullptr) {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        if (!problem_) {
            problem_ = problem;
        }
        room_.notify_all();
        filled_.notify_all();
    }

private:
    const size_t capacity_;
    std::mutex mutex_;
    std::condition_variable room_;
    std::condition_variable filled_;
    std::deque<T> values_;
    bool closed_ = false;
    std::exception_ptr problem_;
};

}  // namespace flux
