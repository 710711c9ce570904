package freshet.archive;

import java.io.IOException;
import java.util.Comparator;
import java.util.HashSet;
import java.util.Set;

/** What waits in the files of one thread; beyond a limit the file that has most of it encodes its rows. */
final class WaitingRows {
  private final long limitBytes;
  private final Set<HourFile> files = new HashSet<>();
  private long bytes;

  WaitingRows(long limitBytes) {
    this.limitBytes = limitBytes;
  }

  /** {@code file} has so much more. */
  void add(HourFile file, int moreBytes) throws IOException {
    files.add(file);
    bytes += moreBytes;
    if (bytes > limitBytes) {
      files.stream().max(Comparator.comparingLong(HourFile::waitingBytes)).orElseThrow().encode();
    }
  }

  /** Nothing waits in {@code file} any more. */
  void remove(HourFile file, long itsBytes) {
    files.remove(file);
    bytes -= itsBytes;
  }
}
