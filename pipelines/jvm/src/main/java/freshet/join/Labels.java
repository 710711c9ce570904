package freshet.join;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.LongStream;

/** All labels of a job, and the moments since a request at which one of them ends. */
final class Labels {
  /** The labels that use an action, and the longest of their reaches. */
  record Using(List<Label> labels, long reachMs) {}

  private final List<Label> all;
  private final long[] momentsMs;
  private final Map<Long, List<Label>> byWindowMs;
  private final boolean isSilent;
  private final Map<String, Using> byAction = new HashMap<>();

  Labels(List<Label> all) {
    this.all = all;
    momentsMs =
        all.stream().flatMapToLong(each -> LongStream.of(each.windowMs(), each.reachMs())).sorted()
            .distinct().toArray();
    byWindowMs = all.stream().collect(Collectors.groupingBy(Label::windowMs));
    isSilent = all.stream().allMatch(each -> each.otherwise() == null);
    all.stream().flatMap(each -> each.actions().stream()).distinct().forEach(each -> byAction.put(each, using(each)));
  }

  private Using using(String action) {
    List<Label> labels = all.stream().filter(each -> each.actions().contains(action)).toList();
    return new Using(labels, labels.stream().mapToLong(Label::reachMs).max().orElseThrow());
  }

  List<Label> all() {
    return all;
  }

  /** The labels that use an action; null: none does. */
  Using of(String action) {
    return byAction.get(action);
  }

  /** Whether nothing is taught of items without an action. */
  boolean isSilent() {
    return isSilent;
  }

  long longestMs() {
    return momentsMs[momentsMs.length - 1];
  }

  /** The moments that have not passed, up to {@code throughMs} of event time. */
  long[] moments(State.Waiting state, long throughMs) {
    long sinceMs = state.closedThroughMs() - state.tsMs();
    long untilMs = throughMs - state.tsMs();
    int first = 0;
    while (first < momentsMs.length && momentsMs[first] <= sinceMs) {
      first++;
    }
    int end = first;
    while (end < momentsMs.length && momentsMs[end] <= untilMs) {
      end++;
    }
    return Arrays.copyOfRange(momentsMs, first, end);
  }

  /** The labels whose window ends at a moment. */
  List<Label> closingAt(long momentMs) {
    return byWindowMs.getOrDefault(momentMs, List.of());
  }

  /** The event time of the next moment of a request that has one left. */
  long nextMs(State.Waiting state) {
    long sinceMs = state.closedThroughMs() - state.tsMs();
    for (long momentMs : momentsMs) {
      if (momentMs > sinceMs) {
        return state.tsMs() + momentMs;
      }
    }
    throw new IllegalStateException("every label has ended");
  }
}
