package freshet.join;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.connector.file.src.util.IteratorResultIterator;
import org.apache.flink.core.fs.Path;

/** How files are read: an event per line of JSON, or per row of Parquet. */
final class EventFormat implements BulkFormat<KeyedArrival, EventFile> {
  private static final long serialVersionUID = 1L;
  private static final int BATCH_EVENTS = 1000;
  private static final int BATCH_BYTES = 1 << 20;
  /** A file without a time in so many events is begun first: then it can't be late. */
  private static final int FIRST_EVENTS = 1000;

  private static final int LINE_OPENERS = 16;

  private final FirstLook look;
  private final boolean isParquet;
  private final int maxLineBytes;

  EventFormat(FirstLook look, Settings settings) {
    this.look = look;
    isParquet = settings.joiner().input().isParquet();
    // One more than can be used or be written into a dead letter.
    maxLineBytes = Math.max(settings.joiner().maxEventBytes(), settings.kafka().maxMessageBytes()) + 1;
  }

  /** The lines or rows of one file. */
  interface Events extends AutoCloseable {
    /** The next one; null: there is none. */
    Arrival next() throws IOException;

    @Override
    void close() throws IOException;
  }

  private Events open(Path path, long bytes) throws IOException {
    return isParquet ? new EventRows(path, bytes, look.isAction()) : new EventLines(path, look.isAction(), maxLineBytes);
  }

  /** The time of the first event that has one; {@link KeyedArrival#NO_TIME}: that would take long to find. */
  long firstMs(Path path, long bytes) throws IOException {
    try (Events events = open(path, bytes)) {
      for (int read = 0; read < FIRST_EVENTS; read++) {
        Arrival arrival = events.next();
        if (arrival == null) {
          break;
        }
        long timeMs = look.copy().at(arrival, System.currentTimeMillis()).eventTimeMs();
        if (timeMs != KeyedArrival.NO_TIME) {
          return timeMs;
        }
      }
      return KeyedArrival.NO_TIME;
    } catch (IOException | RuntimeException | LinkageError error) {
      throw unreadable(path, error);
    }
  }

  /** Without a class the compression is one that Flink's machines don't know. */
  private IOException unreadable(Path path, Throwable error) {
    // Not its cause: whoever reports a failure tells the innermost one, which knows no path.
    IOException named = new IOException(input() + ": " + path + " can't be read: " + error);
    named.addSuppressed(error);
    return named;
  }

  /** How many files are looked into at a time, in the memory of the JobManager: of Parquet that takes a whole row group. */
  int openers() {
    return isParquet ? 1 : LINE_OPENERS;
  }

  /** As the job file calls it. */
  String input() {
    return "joiner.input." + (look.isAction() ? "actions" : "features");
  }

  @Override
  public BulkFormat.Reader<KeyedArrival> createReader(Configuration configuration, EventFile file) throws IOException {
    try {
      return new Reader(unread(file), file);
    } catch (IOException | RuntimeException | LinkageError error) {
      throw unreadable(file.path(), error);
    }
  }

  private Events unread(EventFile file) throws IOException {
    Events events = open(file.path(), file.length());
    try {
      for (long read = 0; read < file.recordsRead(); read++) {
        events.next();
      }
      return events;
    } catch (IOException | RuntimeException | LinkageError error) {
      events.close();
      throw error;
    }
  }

  @Override
  public BulkFormat.Reader<KeyedArrival> restoreReader(Configuration configuration, EventFile file) throws IOException {
    return createReader(configuration, file);
  }

  @Override
  public boolean isSplittable() {
    return false;
  }

  @Override
  public TypeInformation<KeyedArrival> getProducedType() {
    return ArrivalType.INFORMATION;
  }

  /** One file, in pieces of bounded size. */
  private final class Reader implements BulkFormat.Reader<KeyedArrival> {
    private final Events events;
    private final EventFile file;
    private final FirstLook ownLook = look.copy();
    private long read;

    Reader(Events events, EventFile file) {
      this.events = events;
      this.file = file;
      read = file.recordsRead();
    }

    @Override
    public BulkFormat.RecordIterator<KeyedArrival> readBatch() throws IOException {
      List<KeyedArrival> batch = new ArrayList<>();
      long nowMs = System.currentTimeMillis();
      int bytes = 0;
      while (batch.size() < BATCH_EVENTS && bytes < BATCH_BYTES) {
        Arrival arrival = next();
        if (arrival == null) {
          break;
        }
        bytes += arrival.valueBytes();
        batch.add(ownLook.at(arrival, nowMs, file.mostMs()));
      }
      long before = read;
      read += batch.size();
      return batch.isEmpty()
          ? null
          : new IteratorResultIterator<>(batch.iterator(), CheckpointedPosition.NO_OFFSET, before);
    }

    private Arrival next() throws IOException {
      try {
        return events.next();
      } catch (IOException | RuntimeException | LinkageError error) {
        throw unreadable(file.path(), error);
      }
    }

    @Override
    public void close() throws IOException {
      events.close();
    }
  }
}
