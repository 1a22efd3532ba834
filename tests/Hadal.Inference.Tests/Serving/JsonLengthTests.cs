using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Numerics;
using Hadal.Text;

namespace Hadal.Inference.Tests.Serving;

/// <summary>A JSON object is complete however few tokens there are.</summary>
public sealed class JsonLengthTests
{
    /// <summary>Vocabularies whose tokens open and close several things at once.</summary>
    static readonly string[][] Corpora =
    [
        ["[[[{\"a\":{\"b\":[[]]}},{},{},{}]]] \\ud83d\\udc1f\\u00e9 \\\\\\\" {}{}{}{} ,,,, \":{\"\":{\"\":{ tru fals nul 1e1e 0.0.0 -1-1 \u6df1\u6d77\u6df1\u6d77\ud83d\udc1f\ud83d\udc1f"],
        ["{\"name\": \"Ada\", \"born\": 1815, \"tags\": [true, false, null], \"name\": {\"name\": \"Ada\"}}]}]}]}}}}\"}\"}\"}"],
        ["the sea, the deep sea"],
    ];

    [Fact]
    public void The_shortest_end_is_as_long_as_the_automaton_says()
    {
        var random = new CounterRandom(21, RandomPurpose.Fuzzing);
        ulong draw = 0;
        var places = new HashSet<JsonPlace>();
        byte[] likely = "{}[]\",:\\\\u0123456789dD8cCeE+-.tfn \nabrulse\u00e9\u6df1\ud83d\udc1f\u0800\ud7ff\U00010000\U0010ffff"u8.ToArray();
        byte[] all = "{\"a\\u00e9\\uD83D\\udc1f\u00e9\u0800\ud7ff\u6df1\U00010000\U00050000\ud83d\udc1f\U0010ffff\":[-1.5e+3,0,true,false,null,[],{}"u8.ToArray();
        for (int n = 0; n < 2 * all.Length; n++)
        {
            // Along a text that comes by every place, then at random.
            JsonAutomaton state = JsonAutomaton.Begin;
            for (int length = 0; length < all.Length + 20; length++)
            {
                places.Add(state.Place);
                int least = int.MaxValue;
                for (int b = 0; b < 256; b++)
                    if (state.Next((byte)b, out JsonAutomaton after)) least = Math.Min(least, after.Closing);
                if (state.IsDone)
                {
                    Assert.Equal(0, state.Closing);
                    break;
                }

                // One byte comes nearer by one, and none by more: so this many bytes complete the text, and fewer cannot.
                Assert.Equal(state.Closing - 1, least);
                for (int tries = 0; tries < 100; tries++)
                {
                    if (!state.Next(length < n && length < all.Length ? all[length] : likely[random.Below(draw++, likely.Length)], out JsonAutomaton next)) continue;
                    state = next;
                    break;
                }
            }
        }

        Assert.Empty(Enum.GetValues<JsonPlace>().Except(places));
    }

    [Fact]
    public async Task An_object_is_complete_and_valid_within_any_number_of_tokens()
    {
        var random = new CounterRandom(22, RandomPurpose.Fuzzing);
        ulong draw = 0;
        int forced = 0;
        for (int corpus = 0; corpus < Corpora.Length; corpus++)
        {
            Tokenizer tokenizer = TokenizerTrainer.Train(Corpora[corpus], new TokenizerTrainingOptions { VocabularySize = corpus == 2 ? 280 : 340, MinimumFrequency = 1, Threads = 1 });
            using var model = new TestModel(mtp: corpus != 1, seed: 40 + (ulong)corpus, deviation: corpus == 0 ? 0.4 : 0.2, positions: 128, tokenizer: tokenizer);
            await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { MaxRunning = 16 });
            int thought = tokenizer.Encode("!")[0];
            GenerationRequest[] requests = [.. Enumerable.Range(0, 60).Select(n =>
            {
                bool nearTheEnd = n % 5 == 0; // the model's positions are the limit
                int least = RequestChecks.LeastFormTokens(new GenerationRequest { Prompt = new[] { 5 }, MaxNewTokens = 1, Sampling = SamplingParameters.Greedy, Form = OutputForm.JsonObject }, model.Served) + (n % 3 == 0 ? 1 : 0);
                return new GenerationRequest
                {
                    Prompt = Enumerable.Range(0, nearTheEnd ? 128 - least - random.Below(draw++, 30) : 1 + random.Below(draw++, 20)).Select(_ => 3 + random.Below(draw++, 250)).ToArray(),
                    MaxNewTokens = nearTheEnd ? 1000 : least + random.Below(draw++, 40), Sampling = new SamplingParameters(n % 4 * 0.6, 1, (ulong)n), Form = OutputForm.JsonObject,
                    FormBeginsAfter = n % 3 == 0 ? thought : null, PresencePenalty = n % 7 == 0 ? 1 : 0, IgnoreEndTokens = n % 2 == 0,
                };
            })];
            Answer[] answers = await Task.WhenAll(requests.Select(request => Answer.Read(engine.GenerateAsync(request))));
            for (int n = 0; n < answers.Length; n++)
            {
                int[] tokens = answers[n].Tokens;
                Assert.Equal(FinishReason.Stop, answers[n].Reason);
                Assert.InRange(tokens.Length, 1, Math.Min(requests[n].MaxNewTokens, 128 - requests[n].Prompt.Length));
                int begin = requests[n].FormBeginsAfter is null ? 0 : Array.IndexOf(tokens, thought) + 1;
                Assert.True(begin > 0 || requests[n].FormBeginsAfter is null, "the thought never ended");
                using JsonDocument document = JsonDocument.Parse(tokenizer.Decode(tokens.AsSpan(begin)));
                Assert.Equal(JsonValueKind.Object, document.RootElement.ValueKind);
                if (tokens.Length == Math.Min(requests[n].MaxNewTokens, 128 - requests[n].Prompt.Length)) forced++;
            }
        }

        Assert.True(forced > 40, $"only {forced} texts were closed by their limit");
    }

    [Fact]
    public async Task What_cannot_hold_an_object_is_refused()
    {
        Tokenizer braces = TokenizerTrainer.Train(["{}", "{}", "{}"], new TokenizerTrainingOptions { VocabularySize = 300, MinimumFrequency = 1, Threads = 1 });
        Assert.Single(braces.Encode("{}"));
        foreach (Tokenizer? tokenizer in (Tokenizer?[])[null, braces])
        {
            using var model = new TestModel(mtp: false, tokenizer: tokenizer);
            int least = model.Tokenizer.Encode("{}").Length;
            await using var engine = new PlainEngine(model.Served, model.Transformer);
            var request = new GenerationRequest { Prompt = new[] { 5 }, MaxNewTokens = least, Sampling = SamplingParameters.Greedy, Form = OutputForm.JsonObject };
            Assert.Equal("{}", (await Answer.Read(engine.GenerateAsync(request))).Text);
            await Refused(request with { FormBeginsAfter = 9 }, $"room for {least} token", $"at least {least + 1}");
            await Refused(request with { FormBeginsAfter = 9, MaxNewTokens = 9, Prompt = new int[TestModel.Positions - least] }, $"at least {least + 1}");
            await Refused(request with { FormBeginsAfter = 5000, MaxNewTokens = 9 }, "outside the vocabulary");
            if (least > 1) await Refused(request with { MaxNewTokens = least - 1 }, $"at least {least}");

            async Task Refused(GenerationRequest impossible, params string[] parts)
            {
                RequestRefusedException error = await Assert.ThrowsAsync<RequestRefusedException>(() => Answer.Read(engine.GenerateAsync(impossible)));
                foreach (string part in parts) Assert.Contains(part, error.Message, StringComparison.Ordinal);
            }
        }
    }
}
