// Which graphs are being invoked, and at which level: each graph latches the session's level at the first of its nodes
// to run and is done when all of them have run, in whatever order the runtime runs them. Graphs that call others
// (loops) say where an invocation of all of them starts: that latches the level for each of them until the next one
// starts, or end_all(). Not thread-safe: the session locks.
#pragma once

#include <cstdint>
#include <list>

namespace nq {

class Invocations {
 public:
  struct Graph {
    const void* key;  // the runtime's context; only compared
    int num_nodes = 0;
    int num_done = 0;
    uint64_t run = 0;  // counts invocations
    int level = 0;     // of the invocation that runs
    bool running = false;
  };
  struct Node {
    Graph* graph = nullptr;
    uint64_t run = 0;  // the graph's run that the node took part in last
  };

  void add(const void* key, Node* node);
  void remove(Node* node);

  // An invocation starts, with a mark of its own.
  void start(int level);

  // The level that the node must use, `level` being the one for invocations that start now.
  int begin(Node* node, int level);
  void end(Node* node);

  // The level that begin() would give a node of the graph which takes part for the first time.
  int level_of(const void* key, int level) const;

  void end_all();

  // Whether an invocation may run at a level above `level`.
  bool running_above(int level) const;

 private:
  std::list<Graph> graphs_;  // nodes point into it
  bool started_ = false;     // with a mark
  int start_level_ = 0;
};

}  // namespace nq
