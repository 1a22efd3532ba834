using System.CommandLine;
using System.Text;
using Hadal.Cli.Framework;
using Hadal.Text;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal tokenizer train|encode|decode</c>.</summary>
static class TokenizerVerb
{
    public static Verb Create(Context context) =>
        new("tokenizer", "Learns a vocabulary; turns text into ids and back.",
            "hadal tokenizer train texts/ --vocabulary 8192 --output tokenizer.json",
            "hadal tokenizer encode --tokenizer tokenizer.json --text \"It is a truth universally acknowledged\"",
            "hadal tokenizer decode --tokenizer tokenizer.json --ids 17,284,299")
        {
            TokenizerTrainVerb.Create(context),
            Encode(context),
            Decode(context),
        };

    static Option<string?> TokenizerFile() => Options.Text("--tokenizer", "FILE", "A tokenizer.json, or a folder that holds one.", required: true);

    static Verb Encode(Context context)
    {
        Option<string?> file = TokenizerFile();
        Option<string?> text = Options.Text("--text", "TEXT", "The text; without it, standard input is read (invalid bytes become U+FFFD).");
        Option<bool> special = Options.Switch("--special", "Find control tokens such as <｜User｜> in the text, and put the file's prefix (BOS) before it.");
        Option<bool> json = Options.Json();
        var verb = new Verb("encode", "Prints the ids of a text: comma separated, one line.",
            "hadal tokenizer encode --tokenizer models/nano --text \"In the beginning\"",
            "cat chapter.txt | hadal tokenizer encode --tokenizer tokenizer.json --json")
        {
            file, text, special, json,
        };
        verb.SetAction(line =>
        {
            Tokenizer tokenizer = ModelFolder.Tokenizer(line.GetRequiredValue(file)!, "check the path given to --tokenizer, or learn one with hadal tokenizer train");
            var ids = new List<int>();
            bool allowSpecial = line.GetValue(special);
            if (allowSpecial) ids.AddRange(tokenizer.Prefix);
            if (line.GetValue(text) is { } given) tokenizer.Encode(given, ids, allowSpecial);
            else tokenizer.EncodeUtf8(ReadInput(), ids, allowSpecial);
            if (line.GetValue(json)) WriteJson(context.Terminal, ids, tokenizer);
            else context.Terminal.Output.WriteLine(TokenIds.Format(ids));
            return ExitCode.Fine;
        });
        return verb;
    }

    static Verb Decode(Context context)
    {
        Option<string?> file = TokenizerFile();
        Option<string?> ids = Options.Text("--ids", "5,17,…", "The ids, comma separated; without it, standard input is read (commas or white space between ids).");
        Option<bool> skip = Options.Switch("--skip-special", "Leave control tokens out of the text.");
        Option<bool> json = Options.Json();
        var verb = new Verb("decode", "Prints the text of ids, exactly: no line feed is added.",
            "hadal tokenizer decode --tokenizer models/nano --ids 17,284,299",
            "hadal tokenizer encode --tokenizer models/nano --text \"Alas\" | hadal tokenizer decode --tokenizer models/nano")
        {
            file, ids, skip, json,
        };
        verb.SetAction(line =>
        {
            Tokenizer tokenizer = ModelFolder.Tokenizer(line.GetRequiredValue(file)!, "check the path given to --tokenizer, or learn one with hadal tokenizer train");
            int[] given = TokenIds.Parse(line.GetValue(ids) ?? Encoding.UTF8.GetString(ReadInput()), "--ids", tokenizer.VocabularySize);
            string text = tokenizer.Decode(given, line.GetValue(skip));
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => writer.WriteString("text", text));
            else context.Terminal.Output.Write(text);
            return ExitCode.Fine;
        });
        return verb;
    }

    static void WriteJson(Terminal terminal, List<int> ids, Tokenizer tokenizer) => terminal.WriteJson(json =>
    {
        json.WriteNumber("count", ids.Count);
        json.WriteStartArray("ids");
        foreach (int id in ids) json.WriteNumberValue(id);
        json.WriteEndArray();
        json.WriteStartArray("tokens");
        foreach (int id in ids) json.WriteStringValue(tokenizer.Decode([id]));
        json.WriteEndArray();
    });

    static byte[] ReadInput()
    {
        using Stream input = Console.OpenStandardInput();
        using var buffer = new MemoryStream();
        input.CopyTo(buffer);
        return buffer.ToArray();
    }
}
