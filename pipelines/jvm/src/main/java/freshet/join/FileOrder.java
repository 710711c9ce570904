package freshet.join;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.flink.core.fs.FileStatus;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.Path;

/**
 * The files of a folder in the order of their first events, which is that of their names where these go by time.
 *
 * <p>A file that is being read moves event time to the first event of the next one at most. So nothing of a later file is
 * late when that is begun, however long it had to wait, and however files overlap.
 */
final class FileOrder {
  private final Path folder;
  private final EventFormat format;

  FileOrder(String folder, EventFormat format) {
    this.folder = new Path(folder);
    this.format = format;
  }

  /** A file and the time of its first event; {@link KeyedArrival#NO_TIME}: nobody knows. */
  private record Begun(FileStatus file, long firstMs) {}

  Path folder() {
    return folder;
  }

  /** Their ids are their order. */
  List<EventFile> list() throws IOException, InterruptedException {
    List<Begun> files = begun(found());
    files.sort(Comparator.comparingLong(Begun::firstMs).thenComparing(each -> each.file().getPath().toString()));
    List<EventFile> listed = new ArrayList<>();
    for (int place = 0; place < files.size(); place++) {
      FileStatus file = files.get(place).file();
      long mostMs = place + 1 < files.size() ? files.get(place + 1).firstMs() : Long.MAX_VALUE;
      listed.add(new EventFile(String.format("%09d", place), file.getPath(), file.getLen(), mostMs));
    }
    return listed;
  }

  private List<FileStatus> found() throws IOException {
    FileSystem fileSystem = folder.getFileSystem();
    List<FileStatus> found = new ArrayList<>();
    try {
      add(fileSystem, fileSystem.getFileStatus(folder), found);
    } catch (FileNotFoundException none) {
      throw new IOException(format.input() + ": " + folder + " does not exist, as far as Flink's machines see");
    }
    if (found.isEmpty()) {
      throw new IOException(format.input() + ": " + folder + " holds no files (those that begin with . or _ are left out)");
    }
    return found;
  }

  private static void add(FileSystem fileSystem, FileStatus place, List<FileStatus> found) throws IOException {
    if (!place.isDir()) {
      found.add(place);
      return;
    }
    for (FileStatus each : fileSystem.listStatus(place.getPath())) {
      String name = each.getPath().getName();
      if (!name.startsWith(".") && !name.startsWith("_")) {
        add(fileSystem, each, found);
      }
    }
  }

  private List<Begun> begun(List<FileStatus> files) throws IOException, InterruptedException {
    ExecutorService openers = Executors.newFixedThreadPool(format.openers());
    try {
      List<Future<Begun>> opened = new ArrayList<>();
      for (FileStatus file : files) {
        opened.add(openers.submit(() -> new Begun(file, format.firstMs(file.getPath(), file.getLen()))));
      }
      List<Begun> begun = new ArrayList<>();
      for (Future<Begun> each : opened) {
        begun.add(each.get());
      }
      return begun;
    } catch (ExecutionException failure) {
      throw failure.getCause() instanceof IOException known ? known : new IOException(failure.getCause());
    } finally {
      openers.shutdownNow();
    }
  }
}
