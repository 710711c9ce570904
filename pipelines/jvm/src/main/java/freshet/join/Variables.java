package freshet.join;

import dev.cel.runtime.CelVariableResolver;
import java.util.Optional;

/** What expressions see of an action on an item of its request. */
final class Variables implements CelVariableResolver {
  private final Request request;
  private final int position;
  private final Action action;

  Variables(Request request, int position, Action action) {
    this.request = request;
    this.position = position;
    this.action = action;
  }

  @Override
  public Optional<Object> find(String name) {
    return Optional.ofNullable(
        switch (name) {
          case "value" -> action.value();
          case "action" -> action.action();
          case "delay_s" -> (action.tsMs() - request.tsMs()) / 1000.0;
          case "user" -> object(request.user());
          case "context" -> object(request.context());
          case "item" -> object(request.items()[position]);
          default -> null;
        });
  }

  private JsonMap object(int node) {
    return new JsonMap(request.json(), node, 1);
  }
}
