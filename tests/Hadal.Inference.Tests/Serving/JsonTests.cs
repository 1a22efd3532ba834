using System.Text;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>The JSON automaton against System.Text.Json, and texts made under it.</summary>
public sealed class JsonTests
{
    [Fact]
    public void Random_walks_of_the_automaton_are_JSON_and_never_stuck()
    {
        var random = new CounterRandom(11, RandomPurpose.Fuzzing);
        ulong draw = 0;
        byte[] likely = "{}[]\",:\\u0123456789dD8cCeE+-.tfn \nabrulse\u00e9\u6df1\ud83d\udc1f"u8.ToArray();
        int finished = 0;
        for (int n = 0; n < 3000; n++)
        {
            var text = new List<byte>();
            JsonAutomaton state = JsonAutomaton.Begin;
            while (!state.IsDone && text.Count < 400)
            {
                byte b = random.Below(draw++, 8) > 0 ? likely[random.Below(draw++, likely.Length)] : (byte)random.Below(draw++, 256);
                if (text.Count > 150 && random.Below(draw++, 2) == 0) b = (byte)"}]\""[random.Below(draw++, 3)];
                if (state.Next(b, out JsonAutomaton next))
                {
                    text.Add(b);
                    state = next;
                }
                else
                {
                    JsonAutomaton here = state;
                    Assert.Contains(Enumerable.Range(0, 256), other => here.Next((byte)other, out _));
                }
            }

            if (!state.IsDone) continue;
            finished++;
            using JsonDocument document = JsonDocument.Parse(text.ToArray());
            Assert.Equal(JsonValueKind.Object, document.RootElement.ValueKind);
            Read(document.RootElement);
        }

        Assert.True(finished > 500, $"only {finished} walks came to an end");
    }

    [Fact]
    public void What_the_parser_refuses_is_refused_and_common_texts_are_accepted()
    {
        string[] good = ["{}", " {\n \"a\" : [ 1 , -0.5e+10, 0, true,false , null, \"x\\n\\u00e9\\ud83d\\udc1f\u6df1\" , {} , [ ] ] , \"\" : {\"b\":\"\"} } ", "{\"a\":1E9,\"b\":0.0}"];
        foreach (string text in good) Assert.True(Accepts(text), text);
        var random = new CounterRandom(12, RandomPurpose.Fuzzing);
        ulong draw = 0;
        int refused = 0;
        for (int n = 0; n < 20_000; n++)
        {
            byte[] text = Encoding.UTF8.GetBytes(good[random.Below(draw++, good.Length)]);
            for (int k = random.Below(draw++, 3); k >= 0; k--) text[random.Below(draw++, text.Length)] = (byte)"{}[]\",:\\u0129dDe+-.tn \n\u00e9"u8[random.Below(draw++, 22)];
            bool valid = IsObject(text), accepted = Accepts(text);
            if (accepted) Assert.True(valid, $"accepted, but not JSON: {Encoding.UTF8.GetString(text)}");
            else refused++;
            if (valid && !accepted) Assert.Contains("\\u", Encoding.UTF8.GetString(text), StringComparison.Ordinal); // halves of surrogate pairs are JSON, but no text
        }

        Assert.True(refused > 5000);
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(1.0)]
    public async Task A_random_model_writes_valid_JSON_after_its_chain_of_thought(double temperature)
    {
        using var model = new TestModel(mtp: false);
        await using var engine = new PlainEngine(model.Served, model.Transformer);
        int thought = TextStreamTests.ByteToken(model, (byte)'!');
        int early = 0;
        for (int n = 0; n < 40; n++)
        {
            var request = new GenerationRequest
            {
                Prompt = new[] { 7 + n, 100, 200 }, MaxNewTokens = 300, Sampling = new SamplingParameters(temperature == 0 ? 0 : 2, 1, (ulong)n),
                Form = OutputForm.JsonObject, FormBeginsAfter = n % 2 == 0 ? null : thought,
            };
            Answer answer = await Answer.Read(engine.GenerateAsync(request));
            string text = answer.Text;
            if (n % 2 == 1)
            {
                int after = Array.IndexOf(answer.Tokens, thought);
                Assert.True(after >= 0, "the thought never ended");
                text = model.Tokenizer.Decode(answer.Tokens.AsSpan(after + 1));
            }

            Assert.Equal(FinishReason.Stop, answer.Reason);
            if (answer.Tokens.Length < request.MaxNewTokens - 40) early++;
            using JsonDocument document = JsonDocument.Parse(text);
            Read(document.RootElement);
        }

        if (temperature > 0) Assert.True(early > 5, $"only {early} texts ended by themselves");
    }

    [Fact]
    public void The_walk_over_the_vocabulary_allows_exactly_the_tokens_whose_bytes_may_follow()
    {
        using var model = new TestModel(mtp: false);
        var tokens = new JsonTokens(model.Tokenizer, model.Transformer.Shape.Vocabulary);
        JsonAutomaton state = JsonAutomaton.Begin;
        var random = new CounterRandom(13, RandomPurpose.Fuzzing);
        ulong draw = 0;
        foreach (byte b in "{\"name\": [1815, \"\u6df1\", {\"a\": tru"u8)
        {
            Assert.True(state.Next(b, out state));
            int left = random.Below(draw++, 12);
            ReadOnlySpan<ulong> allowed = tokens.Allowed(state, left);
            for (int id = 0; id < model.Transformer.Shape.Vocabulary; id++)
            {
                bool expected = !model.Tokenizer.IsSpecial(id) && model.Tokenizer.TokenBytes(id).Length > 0;
                JsonAutomaton walk = state;
                foreach (byte next in model.Tokenizer.TokenBytes(id)) expected = expected && walk.Next(next, out walk);
                expected = expected && walk.Closing <= left;
                Assert.Equal(expected, (allowed[id / 64] >> (id % 64) & 1) == 1);
            }
        }
    }

    static bool Accepts(string text) => Accepts(Encoding.UTF8.GetBytes(text));

    static bool Accepts(ReadOnlySpan<byte> text)
    {
        JsonAutomaton state = JsonAutomaton.Begin;
        foreach (byte b in text)
            if (!state.Next(b, out state)) return false;
        return state.IsDone;
    }

    static bool IsObject(byte[] text)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text);
            return document.RootElement.ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    // Strings and numbers can be read, not only parsed.
    static void Read(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    Assert.NotNull(property.Name);
                    Read(property.Value);
                }

                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray()) Read(item);
                break;
            case JsonValueKind.String:
                Assert.NotNull(element.GetString());
                break;
            case JsonValueKind.Number:
                Assert.True(double.IsFinite(element.GetDouble()));
                break;
        }
    }
}
