package freshet.join;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.PriorityQueue;
import java.util.Queue;
import java.util.Set;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.file.src.PendingSplitsCheckpoint;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.execution.SuppressRestartsException;

/** Hands files to readers, in their order; whoever asks before they are listed waits. */
final class FilesInOrder implements SplitEnumerator<EventFile, PendingSplitsCheckpoint<EventFile>> {
  private final SplitEnumeratorContext<EventFile> context;
  private final FileOrder order;
  private final Queue<EventFile> waiting = new PriorityQueue<>(Comparator.comparing(EventFile::splitId));
  private final Set<Integer> readers = new LinkedHashSet<>();
  private boolean isListed;

  /** {@code checkpoint} null: the job begins. */
  FilesInOrder(
      SplitEnumeratorContext<EventFile> context, FileOrder order, PendingSplitsCheckpoint<EventFile> checkpoint) {
    this.context = context;
    this.order = order;
    if (checkpoint != null) {
      waiting.addAll(checkpoint.getSplits());
      isListed = !checkpoint.getAlreadyProcessedPaths().isEmpty();
    }
  }

  @Override
  public void start() {
    if (!isListed) {
      context.callAsync(order::list, this::onListed);
    }
  }

  private void onListed(List<EventFile> files, Throwable error) {
    if (error != null) {
      // What can't be read now won't be read by trying again.
      throw new SuppressRestartsException(error);
    }
    waiting.addAll(files);
    isListed = true;
    readers.forEach(reader -> handleSplitRequest(reader, null));
    readers.clear();
  }

  @Override
  public void handleSplitRequest(int reader, String host) {
    if (!isListed) {
      readers.add(reader);
    } else if (context.registeredReaders().containsKey(reader)) {
      EventFile next = waiting.poll();
      if (next == null) {
        context.signalNoMoreSplits(reader);
      } else {
        context.assignSplit(next, reader);
      }
    }
  }

  @Override
  public void addSplitsBack(List<EventFile> files, int reader) {
    waiting.addAll(files);
  }

  @Override
  public void addReader(int reader) {}

  /** With a path as soon as the files are listed. */
  @Override
  public PendingSplitsCheckpoint<EventFile> snapshotState(long checkpointId) {
    List<Path> listed = isListed ? List.of(order.folder()) : List.of();
    return PendingSplitsCheckpoint.fromCollectionSnapshot(new ArrayList<>(waiting), listed);
  }

  @Override
  public void close() {}
}
