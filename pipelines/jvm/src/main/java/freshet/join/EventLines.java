package freshet.join;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import org.apache.commons.compress.compressors.bzip2.BZip2CompressorInputStream;
import org.apache.flink.api.common.io.compression.Bzip2InputStreamFactory;
import org.apache.flink.api.common.io.compression.InflaterInputStreamFactory;
import org.apache.flink.connector.file.src.compression.StandardDeCompressors;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.fs.Path;

/** JSON-lines, compressed or not as the name says; blank lines are left out. */
final class EventLines implements EventFormat.Events {
  private static final int BUFFER_BYTES = 1 << 16;

  private final boolean isAction;
  private final int maxLineBytes;
  private final byte[] path;
  private final InputStream in;
  private final Buffer line = new Buffer(1 << 12);
  private final byte[] buffer = new byte[BUFFER_BYTES];
  private int start;
  private int end;
  private long number;

  /** Of a longer line there is only the beginning. */
  EventLines(Path file, boolean isAction, int maxLineBytes) throws IOException {
    this.isAction = isAction;
    this.maxLineBytes = maxLineBytes;
    path = Utf8.bytes(file.toString());
    FSDataInputStream raw = file.getFileSystem().open(file);
    try {
      in = unpacked(file.getName(), raw);
    } catch (IOException | RuntimeException error) {
      raw.close();
      throw error;
    }
  }

  private static InputStream unpacked(String name, InputStream raw) throws IOException {
    InflaterInputStreamFactory<?> compression = StandardDeCompressors.getDecompressorForFileName(name);
    if (compression == null) {
      return raw;
    }
    InputStream packed = new BufferedInputStream(raw, BUFFER_BYTES);
    // Flink's reads the first stream only; whoever packs in parallel writes many, one after the other.
    return compression == Bzip2InputStreamFactory.getInstance()
        ? new BZip2CompressorInputStream(packed, true)
        : compression.create(packed);
  }

  @Override
  public Arrival next() throws IOException {
    while (readLine()) {
      if (!isBlank()) {
        return new Arrival(isAction, path, line.toBytes(), 0, number, Arrival.NOT_LOGGED);
      }
    }
    return null;
  }

  /** False: there is none. */
  private boolean readLine() throws IOException {
    line.clear();
    boolean isBegun = false;
    while (fill()) {
      isBegun = true;
      int newline = start;
      while (newline < end && buffer[newline] != '\n') {
        newline++;
      }
      line.put(buffer, start, Math.min(newline - start, maxLineBytes - line.size()));
      start = newline + 1;
      if (newline < end) {
        break;
      }
    }
    number++;
    return isBegun;
  }

  private boolean fill() throws IOException {
    if (start >= end) {
      start = 0;
      end = in.read(buffer);
    }
    return end > 0;
  }

  private boolean isBlank() {
    for (int place = 0; place < line.size(); place++) {
      byte each = line.at(place);
      if (each != ' ' && each != '\t' && each != '\r') {
        return false;
      }
    }
    return true;
  }

  @Override
  public void close() throws IOException {
    in.close();
  }
}
