package freshet.join;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

public final class Harness {
  public static void main(String[] arguments) throws Exception {
    ObjectMapper mapper = new ObjectMapper();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    Json json = new Json();
    for (String line; (line = in.readLine()) != null; ) {
      JsonNode call = mapper.readTree(line);
      byte[] data = Base64.getDecoder().decode(call.get(1).asText());
      Object answer;
      try {
        json.parse(data);
        answer = new Object[] {Quotes.quote(json, 0), JsonLength.of(json, 0, 0)};
      } catch (JsonException e) {
        answer = e.getMessage();
      }
      out.println(mapper.writeValueAsString(answer));
    }
  }
}
