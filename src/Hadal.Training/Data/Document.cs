namespace Hadal.Training.Data;

/// <summary>One text that is learned as a unit: it begins after BOS, ends with EOS, and is held out whole or not at all.</summary>
/// <param name="Source">Where it came from, for messages.</param>
/// <param name="Text">The text; no invalid UTF-16.</param>
public sealed record Document(string Source, string Text);

/// <summary>Documents that belong together and are measured together.</summary>
/// <param name="Name">For example <c>austen</c>; names a line of the evaluation.</param>
/// <param name="Documents">In the order of the source.</param>
public sealed record Corpus(string Name, IReadOnlyList<Document> Documents);
