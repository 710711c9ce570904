package freshet.join;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.metrics.Counter;

/** What one event or timer leads to: the state from now on, a further timer, messages, counts. */
final class Step {
  static final long NO_TIMER = Long.MIN_VALUE;
  private static final int COUNTS = Count.values().length;

  private final List<Output> output = new ArrayList<>(1);
  private final int[] counts = new int[COUNTS];
  private State state;
  private long timerMs = NO_TIMER;

  /** Null: nothing waits. */
  Step(State state) {
    this.state = state;
  }

  State state() {
    return state;
  }

  void become(State next) {
    state = next;
  }

  long timerMs() {
    return timerMs;
  }

  void wake(long atMs) {
    timerMs = atMs;
  }

  List<Output> output() {
    return output;
  }

  int count(Count count) {
    return counts[count.ordinal()];
  }

  void add(Count count, int number) {
    counts[count.ordinal()] += number;
  }

  /** Adds to the counters of all counts, in their order. */
  void countInto(Counter[] counters) {
    for (int count = 0; count < counts.length; count++) {
      if (counts[count] != 0) {
        counters[count].inc(counts[count]);
      }
    }
  }

  /** Sends what became ready, if anything did. */
  void give(Output.Ready ready) {
    if (!ready.examples().isEmpty() || ready.sampledAway() > 0 || ready.unlabelled() > 0) {
      output.add(ready);
      add(Count.EXAMPLES, ready.examples().size());
      add(Count.SAMPLED_AWAY, ready.sampledAway());
      add(Count.UNLABELLED, ready.unlabelled());
    }
  }

  /** Sends a record to the dead letters. */
  void bury(Arrival arrival, String reason, String detail) {
    output.add(new Output.DeadLetter(arrival, reason, detail));
    switch (reason) {
      case "orphan" -> add(Count.ORPHANS, 1);
      case "late" -> add(Count.LATE, 1);
      // A rule's failures are counted where it fails, malformed events where they are read.
      default -> {}
    }
  }
}
