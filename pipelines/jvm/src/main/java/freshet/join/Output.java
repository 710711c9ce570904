package freshet.join;

import java.util.List;

/** What a step sends. */
sealed interface Output {

  /** What goes to {@code examples} together, each example as bytes. */
  record Ready(String requestId, List<byte[]> examples, int sampledAway, int unlabelled) implements Output {}

  /** A record that could not be used, and why. */
  record DeadLetter(Arrival arrival, String reason, String detail) implements Output {}
}
