package freshet.join;

import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.file.src.PendingSplitsCheckpoint;
import org.apache.flink.connector.file.src.PendingSplitsCheckpointSerializer;
import org.apache.flink.connector.file.src.impl.FileSourceReader;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/** A folder of events, or one file, as a source: each file by one reader, in the order of their first events. */
final class EventFiles implements Source<KeyedArrival, EventFile, PendingSplitsCheckpoint<EventFile>> {
  private static final long serialVersionUID = 1L;

  private final String folder;
  private final EventFormat format;

  EventFiles(String folder, EventFormat format) {
    this.folder = folder;
    this.format = format;
  }

  @Override
  public Boundedness getBoundedness() {
    return Boundedness.BOUNDED;
  }

  @Override
  public SourceReader<KeyedArrival, EventFile> createReader(SourceReaderContext context) {
    return new FileSourceReader<>(context, format, context.getConfiguration());
  }

  @Override
  public SplitEnumerator<EventFile, PendingSplitsCheckpoint<EventFile>> createEnumerator(
      SplitEnumeratorContext<EventFile> context) {
    return new FilesInOrder(context, new FileOrder(folder, format), null);
  }

  @Override
  public SplitEnumerator<EventFile, PendingSplitsCheckpoint<EventFile>> restoreEnumerator(
      SplitEnumeratorContext<EventFile> context, PendingSplitsCheckpoint<EventFile> checkpoint) {
    return new FilesInOrder(context, new FileOrder(folder, format), checkpoint);
  }

  @Override
  public SimpleVersionedSerializer<EventFile> getSplitSerializer() {
    return new EventFile.Serializer();
  }

  @Override
  public SimpleVersionedSerializer<PendingSplitsCheckpoint<EventFile>> getEnumeratorCheckpointSerializer() {
    return new PendingSplitsCheckpointSerializer<>(getSplitSerializer());
  }
}
