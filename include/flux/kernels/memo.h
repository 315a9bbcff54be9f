// What is not computed again when a stretch of the model runs a second time in backward.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace flux::kernels {

/// Results that are costly for their size. Both runs ask for the same ones in the same order.
class Memo {
public:
    /// Ends the first run.
    void run_again() { is_again_ = true; }
    bool is_again() const { return is_again_; }
    /// Throws c10::Error if the second run left something.
    void check_used_up() const {
        TORCH_CHECK(next_ == results_.size(), "the second run asked for ", next_, " of ",
                    results_.size(), " results of the first one");
    }

private:
    template <class Make>
    friend std::vector<at::Tensor> recall(Memo* memo, size_t count, const Make& make);

    std::vector<at::Tensor> results_;
    size_t next_ = 0;
    bool is_again_ = false;
};

/// The `count` tensors that `make()` gives; the second run takes those of the first one. Without a
/// memo they are made in each run. Throws c10::Error if the runs do not ask for the same.
template <class Make>
std::vector<at::Tensor> recall(Memo* memo, size_t count, const Make& make) {
    if (memo != nullptr && memo->is_again_) {
        TORCH_CHECK(memo->next_ + count <= memo->results_.size(),
                    "the second run asks for more than the ", memo->results_.size(),
                    " results of the first one");
        std::vector<at::Tensor> results;
        for (size_t i = 0; i < count; ++i) {
            results.push_back(std::move(memo->results_[memo->next_++]));
        }
        return results;
    }
    std::vector<at::Tensor> results = make();
    TORCH_CHECK(results.size() == count, "recall of ", count, " results, made ", results.size());
    if (memo != nullptr) {
        memo->results_.insert(memo->results_.end(), results.begin(), results.end());
    }
    return results;
}

}  // namespace flux::kernels
