using CsCheck;

namespace Hadal.Text.Tests;

public sealed class TokenDecoderTests
{
    [Fact]
    public void A_character_comes_out_when_its_last_byte_has_come()
    {
        Tokenizer tokenizer = Tokenizer.Parse(Fixtures.Minimal());
        var decoder = new TokenDecoder(tokenizer);
        Assert.Equal(["", "", "", "😀", "", "é", "a"], ((int[])[0xF0, 0x9F, 0x98, 0x80, 0xC3, 0xA9, 'a']).Select(id => decoder.Append(id)), StringComparer.Ordinal);
        Assert.Equal("", decoder.Finish());
        Assert.Equal(["", "", "\uFFFDa"], ((int[])[0xF0, 0x9F, 'a']).Select(id => decoder.Append(id)), StringComparer.Ordinal);
        Assert.Equal("", decoder.Append(0xE2));
        Assert.Equal("\uFFFD", decoder.Finish());
        Assert.Equal("b", decoder.Append('b'));
    }

    [Fact]
    public void The_stream_equals_the_whole_for_any_ids() => Gen.Int[0, 720].Array[0, 80].Sample(ids =>
    {
        foreach (bool skipSpecial in (bool[])[false, true])
        {
            var decoder = new TokenDecoder(Fixtures.Trained, skipSpecial);
            string[] parts = [.. ids.Select(id => decoder.Append(id)), decoder.Finish()];
            Assert.Equal(Fixtures.Trained.Decode(ids, skipSpecial), string.Concat(parts));
            Assert.DoesNotContain(parts, part => part.Length > 0 && (char.IsHighSurrogate(part[^1]) || char.IsLowSurrogate(part[0])));
        }
    }, iter: 2000);

    [Fact]
    public void Appending_to_a_buffer_allocates_nothing()
    {
        var decoder = new TokenDecoder(Fixtures.Trained);
        char[] text = new char[decoder.LongestText];
        int[] ids = Fixtures.Trained.Encode("the time, 😀 日本語 and so on");
        foreach (int id in ids) decoder.Append(id, text);
        long before = GC.GetAllocatedBytesForCurrentThread();
        foreach (int id in ids) decoder.Append(id, text);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }
}
