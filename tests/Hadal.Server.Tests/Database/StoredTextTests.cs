using Hadal.Server.Conversations;
using Hadal.Server.Database;

namespace Hadal.Server.Tests.Database;

/// <summary>What a database could refuse is left out, and nothing else.</summary>
public sealed class StoredTextTests
{
    [Fact]
    public void U0000_is_left_out()
    {
        foreach ((string? text, string expected) in ((string?, string)[])[(null, ""), ("", ""), ("\0", ""), ("a\0b\0\0c\0", "abc"), ("deep \ud83d\udc1f sea\n\t", "deep \ud83d\udc1f sea\n\t")])
            Assert.Equal(expected, StoredText.Clean(text));
    }

    [Fact]
    public void Halves_of_pairs_are_left_out()
    {
        Assert.Equal("ab", StoredText.Clean("a\ud83db"));
        Assert.Equal("ab", StoredText.Clean("a\udc1fb\ud83d"));
        Assert.Equal("\ud83d\udc1f", StoredText.Clean("\udc1f\ud83d\ud83d\udc1f\0\ud83d"));
        Assert.Equal("", StoredText.Clean("\udc1f\ud83d"));
    }

    [Fact]
    public void A_cut_keeps_pairs_whole()
    {
        Assert.Equal("ab", StoredText.Clean("ab\ud83d\udc1f", 3));
        Assert.Equal("ab\ud83d\udc1f", StoredText.Clean("ab\ud83d\udc1f", 4));
        Assert.Equal("ab", StoredText.Clean("a\0b", 2));
    }

    [Fact]
    public void A_clean_text_is_not_copied()
    {
        string text = new('a', 3);
        Assert.Same(text, StoredText.Clean(text, 3));
    }

    [Fact]
    public void An_answer_that_ends_within_a_pair_is_kept_without_the_half_and_whole_once_it_came()
    {
        using var answer = new RunningAnswer(Guid.NewGuid(), Guid.NewGuid(), Guid.NewGuid());
        answer.Add(new AnswerEvent(AnswerEventKind.Thought, "\0\ud83d"));
        answer.Add(new AnswerEvent(AnswerEventKind.Text, "A fish\0: \ud83d"));
        Assert.Equal(((string?)null, "A fish: "), answer.Content());
        answer.Add(new AnswerEvent(AnswerEventKind.Thought, "\udc1f"));
        answer.Add(new AnswerEvent(AnswerEventKind.Text, "\udc1f."));
        Assert.Equal(("\ud83d\udc1f", "A fish: \ud83d\udc1f."), answer.Content());
    }
}
