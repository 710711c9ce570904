package freshet.join;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;

/** The rate of sampling by the first field whose value is listed, and the one of all others. */
record Rates(double otherwise, List<Field> fields) {

  /** A field that decides, and the rate of each of its values as text. */
  record Field(String origin, byte[] key, Map<String, Double> rates) {

    static Field of(String source, Map<String, Double> rates) {
      String[] parts = source.split("\\.", 2);
      return new Field(parts[0], parts[1].getBytes(StandardCharsets.UTF_8), rates);
    }

    /** Null: the value is not listed. */
    private Double of(Request request, int position) {
      Json json = request.json();
      int values =
          switch (origin) {
            case "user" -> request.user();
            case "context" -> request.context();
            default -> request.items()[position];
          };
      int node = json.get(values, key);
      return switch (json.type(node)) {
        case Json.TRUE -> rates.get("true");
        case Json.FALSE -> rates.get("false");
        case Json.INT, Json.UINT, Json.STRING, Json.ESCAPED -> rates.get(Quotes.text(json, node));
        default -> null;
      };
    }
  }

  double of(Request request, int position) {
    for (Field field : fields) {
      Double rate = field.of(request, position);
      if (rate != null) {
        return rate;
      }
    }
    return otherwise;
  }
}
