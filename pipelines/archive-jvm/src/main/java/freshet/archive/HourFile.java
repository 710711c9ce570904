package freshet.archive;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.serialization.BulkWriter;
import org.apache.flink.core.fs.FSDataOutputStream;
import org.apache.flink.formats.parquet.row.ParquetRowDataBuilder;
import org.apache.flink.formats.parquet.utils.ParquetSchemaConverter;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.binary.BinaryRowData;
import org.apache.flink.table.runtime.typeutils.RowDataSerializer;
import org.apache.flink.table.types.logical.RowType;
import org.apache.hadoop.conf.Configuration;
import org.apache.parquet.ParquetReadOptions;
import org.apache.parquet.column.ParquetProperties;
import org.apache.parquet.conf.PlainParquetConfiguration;
import org.apache.parquet.hadoop.ParquetFileReader;
import org.apache.parquet.hadoop.ParquetFileWriter;
import org.apache.parquet.hadoop.ParquetWriter;
import org.apache.parquet.hadoop.metadata.CompressionCodecName;

/**
 * One Parquet file, of which thousands may be open: one for each hour that a checkpoint has seen.
 *
 * <p>Parquet's own writer holds some MB from the first row on, and up to a row group. Here rows wait as bytes
 * until they are a row group, or until those of all files are too much ({@link WaitingRows}); only then are they
 * encoded, one file after the other.
 */
final class HourFile implements BulkWriter<RowData> {
  /** Of an object and its place in a list. */
  private static final int OVERHEAD_BYTES = 80;

  /** Without them Parquet would ask Hadoop, which reads its own files of configuration every time. */
  private static final ParquetReadOptions READ_OPTIONS =
      ParquetReadOptions.builder(new PlainParquetConfiguration()).build();

  private final RowType type;
  private final long rowGroupBytes;
  private final WaitingRows all;
  private final RowDataSerializer serializer;
  private final List<BinaryRowData> rows = new ArrayList<>();
  private final ParquetFileWriter file;
  private long waitingBytes;

  private HourFile(RowType type, long rowGroupBytes, WaitingRows all, FSDataOutputStream out)
      throws IOException {
    this.type = type;
    this.rowGroupBytes = rowGroupBytes;
    this.all = all;
    serializer = new RowDataSerializer(type);
    file =
        new ParquetFileWriter(
            new StreamFile(out),
            ParquetSchemaConverter.convertToParquetMessageType(
                "flink_schema", type, new Configuration(false)),
            ParquetFileWriter.Mode.CREATE,
            rowGroupBytes,
            0,
            null,
            ParquetProperties.builder().build());
    file.start();
  }

  /** What its rows take that wait. */
  long waitingBytes() {
    return waitingBytes;
  }

  @Override
  public void addElement(RowData row) throws IOException {
    BinaryRowData copy = serializer.toBinaryRow(row).copy();
    rows.add(copy);
    int bytes = copy.getSizeInBytes() + OVERHEAD_BYTES;
    waitingBytes += bytes;
    all.add(this, bytes);
    if (waitingBytes >= rowGroupBytes) {
      encode();
    }
  }

  /** Does nothing: what waits makes better row groups later. */
  @Override
  public void flush() {}

  @Override
  public void finish() throws IOException {
    encode();
    file.end(Map.of());
  }

  /** Makes a row group of what waits. */
  void encode() throws IOException {
    if (!rows.isEmpty()) {
      try (ParquetFileReader group = new ParquetFileReader(new BytesFile(encoded()), READ_OPTIONS)) {
        group.appendTo(file);
      }
      rows.clear();
      all.remove(this, waitingBytes);
      waitingBytes = 0;
    }
  }

  private byte[] encoded() throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ParquetWriter<RowData> writer =
        new ParquetRowDataBuilder(new StreamFile(bytes), type, true)
            .withConf(new Configuration(false))
            .withCompressionCodec(CompressionCodecName.SNAPPY)
            .withRowGroupSize(Long.MAX_VALUE)
            .build()) {
      for (BinaryRowData row : rows) {
        writer.write(row);
      }
    }
    return bytes.toByteArray();
  }

  /** Opens files whose rows wait together, as far as one thread writes them. */
  static final class Factory implements BulkWriter.Factory<RowData> {
    private static final long serialVersionUID = 1L;

    private final RowType type;
    private final long rowGroupBytes;
    private final long waitingBytes;
    private transient ThreadLocal<WaitingRows> waiting;

    /**
     * What memory holds.
     *
     * @param rowGroupBytes of the rows of one file, before they are encoded
     * @param waitingBytes of the rows of all files
     */
    Factory(RowType type, long rowGroupBytes, long waitingBytes) {
      this.type = type;
      this.rowGroupBytes = rowGroupBytes;
      this.waitingBytes = waitingBytes;
    }

    @Override
    public BulkWriter<RowData> create(FSDataOutputStream out) throws IOException {
      return new HourFile(type, rowGroupBytes, ofThisThread(), out);
    }

    /** Files are compacted by other threads than the one that writes them. */
    private synchronized WaitingRows ofThisThread() {
      if (waiting == null) {
        waiting = ThreadLocal.withInitial(() -> new WaitingRows(waitingBytes));
      }
      return waiting.get();
    }
  }
}
