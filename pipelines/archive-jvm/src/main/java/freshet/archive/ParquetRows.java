package freshet.archive;

import java.io.IOException;
import org.apache.flink.connector.file.sink.compactor.RecordWiseFileCompactor;
import org.apache.flink.connector.file.src.FileSourceSplit;
import org.apache.flink.connector.file.src.reader.BulkFormat;
import org.apache.flink.connector.file.src.util.RecordAndPosition;
import org.apache.flink.core.fs.Path;
import org.apache.flink.formats.parquet.ParquetColumnarRowInputFormat;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.RowType;
import org.apache.hadoop.conf.Configuration;

/** The rows of one file, for the one that takes the place of several. */
final class ParquetRows implements RecordWiseFileCompactor.Reader<RowData> {
  private static final int BATCH_ROWS = 2048;

  private final BulkFormat.Reader<RowData> reader;
  private BulkFormat.RecordIterator<RowData> batch;

  private ParquetRows(BulkFormat.Reader<RowData> reader) {
    this.reader = reader;
  }

  @Override
  public RowData read() throws IOException {
    while (true) {
      if (batch == null && (batch = reader.readBatch()) == null) {
        return null;
      }
      RecordAndPosition<RowData> next = batch.next();
      if (next != null) {
        return next.getRecord();
      }
      batch.releaseBatch();
      batch = null;
    }
  }

  @Override
  public void close() throws IOException {
    reader.close();
  }

  /** Opens files of the archive; columns that one does not have are null. */
  record Opener(RowType type) implements RecordWiseFileCompactor.Reader.Factory<RowData> {
    @Override
    public RecordWiseFileCompactor.Reader<RowData> createFor(Path path) throws IOException {
      long bytes = path.getFileSystem().getFileStatus(path).getLen();
      FileSourceSplit whole = new FileSourceSplit("whole", path, 0, bytes, 0, bytes);
      ParquetColumnarRowInputFormat<FileSourceSplit> format =
          new ParquetColumnarRowInputFormat<>(
              new Configuration(false), type, InternalTypeInfo.of(type), BATCH_ROWS, true, true);
      return new ParquetRows(
          format.createReader(new org.apache.flink.configuration.Configuration(), whole));
    }
  }
}
