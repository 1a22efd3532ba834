using System.Text;
using Hadal.Inference.Serving;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Text from tokens: characters whole, stop texts wherever token borders fall.</summary>
public sealed class TextStreamTests
{
    [Fact]
    public void A_stop_text_ends_the_text_wherever_token_borders_fall()
    {
        using var model = new TestModel(mtp: false);
        var random = new CounterRandom(5, RandomPurpose.TestData);
        ulong draw = 0;
        string[] words = ["the", " sea", "deep", "\u00e9t\u00e9", "\u6df1\u6d77", "\ud83d\udc1f", "st", "op", "END", "E", "ND", " "];
        for (int n = 0; n < 400; n++)
        {
            string text = string.Concat(Enumerable.Range(0, 12).Select(_ => words[random.Below(draw++, words.Length)]));
            string[] stop = [.. Enumerable.Range(0, 1 + random.Below(draw++, 3)).Select(_ => words[random.Below(draw++, words.Length)] + words[random.Below(draw++, words.Length)])];

            // Where the first stop text to be complete begins.
            string expected = text;
            for (int end = 1; end <= text.Length; end++)
            {
                string? found = stop.Where(s => text[..end].EndsWith(s, StringComparison.Ordinal)).MaxBy(s => s.Length);
                if (found is null) continue;
                expected = text[..(end - found.Length)];
                break;
            }

            int[] merged = model.Tokenizer.Encode(text);
            int[] single = [.. Encoding.UTF8.GetBytes(text).Select(b => ByteToken(model, b))];
            foreach (int[] tokens in (int[][])[merged, single])
            {
                var stream = new TextStream(model.Tokenizer, stop);
                var shown = new StringBuilder();
                foreach (int token in tokens)
                {
                    stream.Append(token);
                    shown.Append(stream.Take());
                    Assert.StartsWith(shown.ToString(), expected, StringComparison.Ordinal);
                    if (stream.IsStopped) break;
                }

                stream.Finish();
                shown.Append(stream.Take());
                Assert.Equal(expected, shown.ToString());
                Assert.Equal(expected.Length < text.Length, stream.IsStopped);
            }
        }
    }

    [Fact]
    public void An_unfinished_character_is_held_back_and_shown_as_a_replacement_at_the_end()
    {
        using var model = new TestModel(mtp: false);
        var stream = new TextStream(model.Tokenizer, []);
        stream.Append(ByteToken(model, 0xF0));
        stream.Append(ByteToken(model, 0x9F));
        Assert.Equal("", stream.Take());
        stream.Finish();
        Assert.Equal("\ufffd", stream.Take());
    }

    internal static int ByteToken(TestModel model, byte value) =>
        Enumerable.Range(0, model.Tokenizer.VocabularySize).First(id => !model.Tokenizer.IsSpecial(id) && model.Tokenizer.TokenBytes(id).SequenceEqual([value]));
}
