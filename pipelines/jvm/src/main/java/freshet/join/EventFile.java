package freshet.join;

import java.io.IOException;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.FileSourceSplitSerializer;
import org.apache.flink.connector.file.src.util.CheckpointedPosition;
import org.apache.flink.core.fs.Path;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;

/** A whole file of events, and how far it may move event time: to where the files begin that are read after it. */
final class EventFile extends FileSourceSplit {
  private static final long serialVersionUID = 1L;

  private final long mostMs;

  EventFile(String id, Path path, long bytes, long mostMs) {
    this(new FileSourceSplit(id, path, 0, bytes, 0, bytes), null, mostMs);
  }

  private EventFile(FileSourceSplit file, CheckpointedPosition position, long mostMs) {
    super(file.splitId(), file.path(), 0, file.length(), 0, file.fileSize(), new String[0], position);
    this.mostMs = mostMs;
  }

  long mostMs() {
    return mostMs;
  }

  /** Lines or rows that have been read. */
  long recordsRead() {
    return getReaderPosition().map(CheckpointedPosition::getRecordsAfterOffset).orElse(0L);
  }

  @Override
  public EventFile updateWithCheckpointedPosition(CheckpointedPosition position) {
    return new EventFile(this, position, mostMs);
  }

  /** i64 latest time, then the file as Flink writes it. */
  static final class Serializer implements SimpleVersionedSerializer<EventFile> {
    private final FileSourceSplitSerializer files = FileSourceSplitSerializer.INSTANCE;

    @Override
    public int getVersion() {
      return files.getVersion();
    }

    @Override
    public byte[] serialize(EventFile file) throws IOException {
      DataOutputSerializer out = new DataOutputSerializer(256);
      out.writeLong(file.mostMs);
      FileSourceSplit plain =
          new FileSourceSplit(
              file.splitId(), file.path(), 0, file.length(), 0, file.fileSize(), file.hostnames(),
              file.getReaderPosition().orElse(null));
      out.write(files.serialize(plain));
      return out.getCopyOfBuffer();
    }

    @Override
    public EventFile deserialize(int version, byte[] serialized) throws IOException {
      DataInputDeserializer in = new DataInputDeserializer(serialized);
      long mostMs = in.readLong();
      byte[] rest = new byte[in.available()];
      in.readFully(rest);
      FileSourceSplit file = files.deserialize(version, rest);
      return new EventFile(file, file.getReaderPosition().orElse(null), mostMs);
    }
  }
}
