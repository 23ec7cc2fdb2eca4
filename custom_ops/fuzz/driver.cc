// In libFuzzer's place where there is none: replays the inputs of files and folders, then runs seeded random mutations
// of them. Understands -runs=, -max_total_time=, -seed=, -max_len= and -artifact_prefix= as libFuzzer does, and ignores
// its other flags. Without feedback about coverage it finds less, and what libFuzzer found it finds again.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());  // null without a sanitizer

namespace {

using Bytes = std::vector<uint8_t>;

struct Options {
  long long runs = -1, max_total_time = 0, seed = 1, max_len = 4096;
  std::string artifact_prefix = "./";
  std::vector<std::filesystem::path> files;
};

// What a sanitizer's report leaves behind.
std::string artifact_prefix;
const uint8_t* running = nullptr;
size_t running_size = 0;

void keep_input() {
  const std::string path =
      artifact_prefix + "crash-" +
      std::to_string(std::hash<std::string>()({reinterpret_cast<const char*>(running), running_size}));
  if (std::FILE* file = std::fopen(path.c_str(), "wb")) {
    std::fwrite(running, 1, running_size, file);
    std::fclose(file);
    std::fprintf(stderr, "input kept as %s\n", path.c_str());
  }
}

bool take_number(const std::string& argument, const char* name, long long* number) {
  if (argument.rfind(name, 0) != 0) return false;
  *number = std::atoll(argument.c_str() + std::strlen(name));
  return true;
}

Options parse(int argc, char** argv) {
  Options options;
  for (const std::string& argument : std::vector<std::string>(argv + 1, argv + argc)) {
    if (take_number(argument, "-runs=", &options.runs) || take_number(argument, "-seed=", &options.seed) ||
        take_number(argument, "-max_total_time=", &options.max_total_time) ||
        take_number(argument, "-max_len=", &options.max_len)) {
      continue;
    }
    if (argument.rfind("-artifact_prefix=", 0) == 0) {
      options.artifact_prefix = argument.substr(17);
    } else if (argument[0] != '-') {
      options.files.emplace_back(argument);
    }
  }
  return options;
}

std::vector<Bytes> read_corpus(const Options& options) {
  std::vector<std::filesystem::path> paths;
  for (const auto& path : options.files) {
    if (!std::filesystem::is_directory(path)) {
      paths.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (entry.is_regular_file()) paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

void run(const Bytes& input) {
  // Of exactly that size, so that a sanitizer sees the byte behind it.
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[input.size()]);
  std::copy(input.begin(), input.end(), exact.get());
  running = exact.get();
  running_size = input.size();
  LLVMFuzzerTestOneInput(running, running_size);
}

class Mutator {
 public:
  Mutator(const std::vector<Bytes>& corpus, const Options& options)
      : corpus_(corpus), max_len_(static_cast<size_t>(options.max_len)), random_(static_cast<uint64_t>(options.seed)) {}

  Bytes next() {
    Bytes input = corpus_.empty() ? Bytes() : corpus_[below(corpus_.size())];
    for (size_t changes = 1 + below(6); changes > 0; --changes) change(&input);
    if (input.size() > max_len_) input.resize(max_len_);
    return input;
  }

 private:
  size_t below(size_t limit) { return static_cast<size_t>(random_() % limit); }

  void change(Bytes* input) {
    if (input->empty()) input->push_back(0);
    const size_t at = below(input->size());
    uint8_t& byte = (*input)[at];
    switch (below(7)) {
      case 0:
        byte = static_cast<uint8_t>(random_());
        break;
      case 1:
        byte ^= static_cast<uint8_t>(1u << below(8));
        break;
      case 2:
        byte = static_cast<uint8_t>(byte + below(17) - 8);
        break;
      case 3:
        set_number(input, at);
        break;
      case 4:
        input->insert(input->begin() + static_cast<ptrdiff_t>(at), 1 + below(8), static_cast<uint8_t>(random_()));
        break;
      case 5:
        input->erase(input->begin() + static_cast<ptrdiff_t>(at),
                     input->begin() + static_cast<ptrdiff_t>(std::min(input->size(), at + 1 + below(8))));
        break;
      default:
        splice(input, at);
    }
  }

  void set_number(Bytes* input, size_t at) {
    const int32_t numbers[] = {0, 1, -1, 127, 128, 255, 256, 32767, 65535, INT32_MAX, INT32_MIN, 16, 64, 16384};
    const int32_t number = numbers[below(std::size(numbers))];
    std::memcpy(input->data() + at, &number, std::min(sizeof(number), input->size() - at));
  }

  void splice(Bytes* input, size_t at) {
    if (corpus_.empty()) return;
    const Bytes& other = corpus_[below(corpus_.size())];
    if (other.empty()) return;
    const size_t start = below(other.size()), size = 1 + below(other.size() - start);
    input->resize(at);
    input->insert(input->end(), other.begin() + static_cast<ptrdiff_t>(start),
                  other.begin() + static_cast<ptrdiff_t>(start + size));
  }

  const std::vector<Bytes>& corpus_;
  size_t max_len_;
  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  artifact_prefix = options.artifact_prefix;
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(keep_input);
  const std::vector<Bytes> corpus = read_corpus(options);
  for (const Bytes& input : corpus) run(input);
  auto done = static_cast<long long>(corpus.size());
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::seconds(options.max_total_time);
  Mutator mutator(corpus, options);
  while ((options.runs < 0 || done < options.runs) && (options.max_total_time == 0 || Clock::now() < end)) {
    run(mutator.next());
    ++done;
  }
  std::fprintf(stderr, "stat::number_of_executed_units: %lld\n", done);
  return 0;
}
