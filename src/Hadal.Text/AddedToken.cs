namespace Hadal.Text;

/// <summary>A token that is found in the text before it is split into pieces: a control mark such as <c>&lt;｜User｜&gt;</c>, or a word somebody added.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Content">Its text.</param>
/// <param name="Special">Whether decoding can leave it out (<c>skipSpecial</c>).</param>
public sealed record AddedToken(int Id, string Content, bool Special)
{
    /// <summary>Matches only where neither neighbour is a word character.</summary>
    public bool SingleWord { get; init; }

    /// <summary>Takes the white space to its left into the match.</summary>
    public bool LeftStrip { get; init; }

    /// <summary>Takes the white space to its right into the match.</summary>
    public bool RightStrip { get; init; }

    /// <summary>Is looked for after normalisation, so only in what the tokens with false have left.</summary>
    public bool Normalized { get; init; }
}
