package freshet.archive;

import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.sink.compactor.FileCompactStrategy;
import org.apache.flink.connector.file.sink.compactor.RecordWiseFileCompactor;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.sink.filesystem.OutputFileConfig;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.utils.LogicalTypeParser;

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
   * @param rowGroupBytes so many bytes of rows become a row group
   * @param waitingBytes so many bytes of rows wait in memory for that, in all files together
   * @param fileBytes so much waiting for one hour becomes a file at once
   * @param compactEvery the files of so many checkpoints become one
   */
  public static void write(
      StreamTableEnvironment tables,
      Table messages,
      String columns,
      String path,
      long rowGroupBytes,
      long waitingBytes,
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
        .sinkTo(
            sink(
                type,
                new Path(path),
                new HourFile.Factory(type, rowGroupBytes, waitingBytes),
                fileBytes,
                compactEvery))
        .name("files")
        .uid("archive-files");
  }

  private static FileSink<RowData> sink(
      RowType type, Path path, HourFile.Factory files, long fileBytes, int compactEvery) {
    FileCompactStrategy strategy =
        FileCompactStrategy.Builder.newBuilder()
            .setSizeThreshold(fileBytes)
            .enableCompactionOnCheckpoint(compactEvery)
            .build();
    return FileSink.forBulkFormat(path, files)
        .withBucketAssigner(new HourAssigner(type.getFieldIndex("ts")))
        .withOutputFileConfig(new OutputFileConfig("part", ".parquet"))
        .enableCompact(strategy, new RecordWiseFileCompactor<>(new ParquetRows.Opener(type)))
        .build();
  }
}
