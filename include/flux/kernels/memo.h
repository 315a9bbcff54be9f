// What is not computed again when a stretch of the model runs a second time in backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace flux::kernels {

/// Results that are costly for their size. Both runs ask for the same ones in the same order.
class Memo {
public:
    /// Ends the first run.
    void run_again() { is_again_ = true; }

private:
    template <class Make>
    friend std::vector<at::Tensor> recall(Memo* memo, size_t count, const Make& make);

    std::vector<at::Tensor> results_;
    size_t next_ = 0;
    bool is_again_ = false;
};

/// The `count` tensors that `make()` gives; the second run takes those of the first one. Without a
/// memo there is one run.
template <class Make>
std::vector<at::Tensor> recall(Memo* memo, size_t count, const Make& make) {
    if (memo == nullptr) {
        return make();
    }
    std::vector<at::Tensor> results;
    if (memo->is_again_) {
        for (size_t i = 0; i < count; ++i) {
            results.push_back(std::move(memo->results_.at(memo->next_++)));
        }
        return results;
    }
    results = make();
    memo->results_.insert(memo->results_.end(), results.begin(), results.end());
    return results;
}

}  // namespace flux::kernels
