package freshet.join;

import java.nio.ByteBuffer;
import org.apache.flink.runtime.state.KeyGroupRange;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;

/**
 * How many requests wait, and in how many bytes of state. Counted by key group, so that after a rescale each subtask knows
 * its share.
 */
final class WaitingCounts {
  private static final StateFormat FORMAT = new StateFormat("counts", 1);

  private final KeyGroupRange groups;
  private final int allGroups;
  private final long[] requestsOf;
  private final long[] bytesOf;
  private long requests;
  private long bytes;

  WaitingCounts(int maxParallelism, int parallelism, int subtask) {
    allGroups = maxParallelism;
    groups = KeyGroupRangeAssignment.computeKeyGroupRangeForOperatorIndex(maxParallelism, parallelism, subtask);
    requestsOf = new long[maxParallelism];
    bytesOf = new long[maxParallelism];
  }

  /** The state of a key has changed; either number of bytes is 0 where it is none of a waiting request. */
  void change(String key, int bytesBefore, int bytesAfter) {
    if (bytesBefore != bytesAfter) {
      int group = KeyGroupRangeAssignment.assignToKeyGroup(key, allGroups);
      add(group, Integer.signum(bytesAfter) - Integer.signum(bytesBefore), bytesAfter - bytesBefore);
    }
  }

  private void add(int group, long moreRequests, long moreBytes) {
    requestsOf[group] += moreRequests;
    bytesOf[group] += moreBytes;
    requests += moreRequests;
    bytes += moreBytes;
  }

  long requests() {
    return requests;
  }

  long bytes() {
    return bytes;
  }

  /** Version (u8), then u32 group, i64 requests, i64 bytes of each that has any. */
  byte[] encode() {
    ByteBuffer out = FORMAT.begin(allGroups * (Integer.BYTES + 2 * Long.BYTES));
    for (int group = 0; group < allGroups; group++) {
      if (requestsOf[group] != 0) {
        out.putInt(group).putLong(requestsOf[group]).putLong(bytesOf[group]);
      }
    }
    byte[] data = new byte[out.position()];
    out.flip().get(data);
    return data;
  }

  /** Takes up the groups that are this subtask's now. */
  void restore(byte[] data) {
    ByteBuffer in = FORMAT.open(data);
    while (in.hasRemaining()) {
      int group = in.getInt();
      long requestsThere = in.getLong();
      long bytesThere = in.getLong();
      if (groups.contains(group)) {
        add(group, requestsThere, bytesThere);
      }
    }
  }
}
