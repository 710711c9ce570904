package freshet.join;

import java.io.IOException;
import org.apache.flink.core.fs.Path;
import org.apache.flink.formats.parquet.ParquetInputFile;
import org.apache.parquet.column.page.PageReadStore;
import org.apache.parquet.example.data.Group;
import org.apache.parquet.example.data.simple.convert.GroupRecordConverter;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.io.ColumnIOFactory;
import org.apache.parquet.io.MessageColumnIO;
import org.apache.parquet.io.RecordReader;
import org.apache.parquet.schema.MessageType;

/** The rows of a Parquet file. What it is made of goes along with the job only when it is asked for. */
final class EventRows implements EventFormat.Events {
  private final boolean isAction;
  private final byte[] path;
  private final ParquetFileReader reader;
  private final MessageType schema;
  private final EventColumns columns;
  private final MessageColumnIO pages;
  private RecordReader<Group> group;
  private long groupRows;
  private long number;

  EventRows(Path file, long bytes, boolean isAction) throws IOException {
    this.isAction = isAction;
    path = Utf8.bytes(file.toString());
    reader = ParquetFileReader.open(new ParquetInputFile(file.getFileSystem().open(file), bytes));
    try {
      schema = EventColumns.wanted(reader.getFileMetaData().getSchema());
      columns = new EventColumns(schema);
      pages = new ColumnIOFactory().getColumnIO(schema);
      reader.setRequestedSchema(schema);
    } catch (RuntimeException error) {
      reader.close();
      throw error;
    }
  }

  @Override
  public Arrival next() throws IOException {
    while (groupRows == 0) {
      PageReadStore next = reader.readNextRowGroup();
      if (next == null) {
        return null;
      }
      groupRows = next.getRowCount();
      group = pages.getRecordReader(next, new GroupRecordConverter(schema));
    }
    groupRows--;
    number++;
    Group row = group.read();
    byte[] value = columns.value(row);
    long loggedTsMs = columns.loggedTsMs(row);
    return columns.isOfKafka(row)
        ? new Arrival(isAction, null, value, columns.partition(row), columns.offset(row), loggedTsMs)
        : new Arrival(isAction, path, value, 0, number, loggedTsMs);
  }

  @Override
  public void close() throws IOException {
    reader.close();
  }
}
