package freshet.archive;

import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.sink.compactor.FileCompactStrategy;
import org.apache.flink.connector.file.sink.compactor.RecordWiseFileCompactor;
import org.apache.flink.core.fs.Path;
import org.apache.flink.formats.parquet.row.ParquetRowDataBuilder;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.sink.filesystem.OutputFileConfig;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.utils.LogicalTypeParser;
import org.apache.hadoop.conf.Configuration;

/** The way from the messages of the topic {@code examples} to files; {@code pipelines/archive.py} calls it. */
public final class Archive {
  private Archive() {}

  /**
   * Adds decoding and sink to the job.
   *
   * @param messages columns topic STRING, partition INT, offset BIGINT, value BYTES
   * @param columns of the files, as an SQL type ROW&lt;…&gt;; the first five are those of {@link
   *     ExampleRows}
   * @param path of the folder, on any file system that Flink knows
   * @param rowGroupBytes what a Parquet writer holds in memory, about
   * @param fileBytes so much waiting for one hour becomes a file at once
   * @param compactEvery the files of so many checkpoints become one
   */
  public static void write(
      StreamTableEnvironment tables,
      Table messages,
      String columns,
      String path,
      long rowGroupBytes,
      long fileBytes,
      int compactEvery) {
    RowType type =
        (RowType) LogicalTypeParser.parse(columns, Archive.class.getClassLoader()).copy(false);
    DataStream<RowData> raw =
        tables.toDataStream(
            messages,
            messages.getResolvedSchema().toSourceRowDataType().bridgedTo(RowData.class));
    raw.keyBy(message -> message.getInt(ExampleRows.PARTITION))
        .process(new ExampleRows(type))
        .returns(InternalTypeInfo.of(type))
        .name("rows")
        .uid("archive-rows")
        .sinkTo(sink(type, new Path(path), rowGroupBytes, fileBytes, compactEvery))
        .name("files")
        .uid("archive-files");
  }

  private static FileSink<RowData> sink(
      RowType type, Path path, long rowGroupBytes, long fileBytes, int compactEvery) {
    Configuration parquet = new Configuration(false);
    parquet.set("parquet.compression", "SNAPPY");
    parquet.setLong("parquet.block.size", rowGroupBytes);
    FileCompactStrategy strategy =
        FileCompactStrategy.Builder.newBuilder()
            .setSizeThreshold(fileBytes)
            .enableCompactionOnCheckpoint(compactEvery)
            .build();
    return FileSink.forBulkFormat(
            path, ParquetRowDataBuilder.createWriterFactory(type, parquet, true))
        .withBucketAssigner(new HourAssigner(type.getFieldIndex("ts")))
        .withOutputFileConfig(new OutputFileConfig("part", ".parquet"))
        .enableCompact(strategy, new RecordWiseFileCompactor<>(new ParquetRows.Opener(type)))
        .build();
  }
}
