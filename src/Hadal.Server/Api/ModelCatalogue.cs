using Hadal.Inference.Serving;
using Hadal.Server.Hosting;
using Hadal.Text;

namespace Hadal.Server.Api;

/// <summary>A name under which an engine is called.</summary>
/// <param name="Name">As clients say it.</param>
/// <param name="Engine">Who answers.</param>
/// <param name="Thinks">Whether it reasons before it answers (R1's template).</param>
sealed record ModelEntry(string Name, IInferenceEngine Engine, bool Thinks)
{
    public ServedModel Model => Engine.Model;

    public Tokenizer Tokenizer => Engine.Model.Tokenizer;

    public ChatTemplate Template => Thinks ? ChatTemplate.R1 : ChatTemplate.V3;

    /// <summary>The <c>system_fingerprint</c> of its answers.</summary>
    public string Fingerprint { get; } = "fp_" + (Engine.Model.Fingerprint.Length > 16 ? Engine.Model.Fingerprint[..16] : Engine.Model.Fingerprint);
}

/// <summary>The models by name: <c>deepseek-chat</c>, <c>deepseek-reasoner</c>, and the engines' own names.</summary>
sealed class ModelCatalogue
{
    public const string Chat = "deepseek-chat";
    public const string Reasoner = "deepseek-reasoner";

    public ModelCatalogue(ServerOptions options)
    {
        var entries = new List<ModelEntry> { new(Chat, options.Plain, Thinks: false), new(Reasoner, options.Thinking, Thinks: true) };
        Add(new ModelEntry(options.Plain.Model.Name, options.Plain, Thinks: false));
        Add(new ModelEntry(options.Thinking.Model.Name, options.Thinking, Thinks: true));
        Entries = entries;

        void Add(ModelEntry entry)
        {
            if (entries.All(other => !string.Equals(other.Name, entry.Name, StringComparison.Ordinal))) entries.Add(entry);
        }
    }

    public IReadOnlyList<ModelEntry> Entries { get; }

    /// <summary>The model of this name.</summary>
    /// <exception cref="ApiException">400: there is none.</exception>
    public ModelEntry Require(string name) => Find(name)
        ?? throw new ApiException(ApiError.BadRequest($"Model Not Exist: \"{(name.Length > 80 ? name[..80] : name)}\"; expected one of {string.Join(", ", Entries.Select(entry => entry.Name))}.", "model"));

    public ModelEntry? Find(string name) => Entries.FirstOrDefault(entry => string.Equals(entry.Name, name, StringComparison.Ordinal));
}
