package freshet.join;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.flink.runtime.state.KeyGroupRange;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;

/**
 * How far event time had come when the state was saved. A restored job has no watermark until its sources have read from
 * all partitions, and would take what it had forgotten for new. Kept by key group: subtasks may be apart, and after a rescale
 * each key is judged by the one that had it.
 */
final class SavedTimes {
  private static final StateFormat FORMAT = new StateFormat("event times", 1);
  private static final int GROUP_BYTES = Integer.BYTES + Long.BYTES;

  private final KeyGroupRange groups;
  private final int allGroups;
  private final long[] timeMsOf;
  private long latestMs = Long.MIN_VALUE;

  SavedTimes(int maxParallelism, int parallelism, int subtask) {
    allGroups = maxParallelism;
    groups = KeyGroupRangeAssignment.computeKeyGroupRangeForOperatorIndex(maxParallelism, parallelism, subtask);
    timeMsOf = new long[maxParallelism];
    Arrays.fill(timeMsOf, Long.MIN_VALUE);
  }

  /** Event time of a key: the watermark, or what was saved as long as that is later. */
  long eventTimeMs(String key, long watermarkMs) {
    return watermarkMs >= latestMs
        ? watermarkMs
        : Math.max(watermarkMs, timeMsOf[KeyGroupRangeAssignment.assignToKeyGroup(key, allGroups)]);
  }

  /** Version (u8), then u32 group, i64 event time in ms of each group of this subtask; {@code watermarkMs}: its own. */
  byte[] encode(long watermarkMs) {
    // The end of a bounded input is no time: a job that goes on from there would refuse everything.
    long reachedMs = watermarkMs == Long.MAX_VALUE ? Long.MIN_VALUE : watermarkMs;
    ByteBuffer out = FORMAT.begin(groups.getNumberOfKeyGroups() * GROUP_BYTES);
    for (int group : groups) {
      raise(group, reachedMs);
      out.putInt(group).putLong(timeMsOf[group]);
    }
    return out.array();
  }

  /** Takes up the groups that are this subtask's now. */
  void restore(byte[] data) {
    ByteBuffer in = FORMAT.open(data);
    while (in.hasRemaining()) {
      int group = in.getInt();
      long timeMs = in.getLong();
      if (groups.contains(group)) {
        raise(group, timeMs);
      }
    }
  }

  private void raise(int group, long timeMs) {
    timeMsOf[group] = Math.max(timeMsOf[group], timeMs);
    latestMs = Math.max(latestMs, timeMs);
  }
}
