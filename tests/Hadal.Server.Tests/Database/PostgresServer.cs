using System.Diagnostics;
using Npgsql;

namespace Hadal.Server.Tests.Database;

/// <summary>A real PostgreSQL of this machine (Debian package postgresql) on a free port, with a folder of its own; gone after the class of tests.</summary>
public sealed class PostgresServer : IAsyncLifetime
{
    static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    readonly string _folder = Directory.CreateTempSubdirectory("hadal-postgres-").FullName;
    Process? _server;
    int _port;
    int _databases;

    public async ValueTask InitializeAsync()
    {
        string programs = Directory.Exists("/usr/lib/postgresql")
            ? Directory.EnumerateDirectories("/usr/lib/postgresql").Select(version => Path.Combine(version, "bin")).Where(folder => File.Exists(Path.Combine(folder, "initdb"))).Order(StringComparer.Ordinal).LastOrDefault() ?? ""
            : "";
        Assert.True(programs.Length > 0, "PostgreSQL is missing: install the Debian package postgresql (./test.sh does).");
        if (Environment.IsPrivilegedProcess) await RunAsync("chown", "postgres", _folder); // PostgreSQL refuses to run as root
        string data = Path.Combine(_folder, "data");
        using (Process made = Start(Path.Combine(programs, "initdb"), "-D", data, "-U", "hadal", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")) await EndAsync(made);
        _port = Ports.Free();
        _server = Start(Path.Combine(programs, "postgres"), "-D", data, "-p", _port.ToString(), "-k", _folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200");
        for (long began = Stopwatch.GetTimestamp(); ;)
        {
            try
            {
                await using var connection = new NpgsqlConnection(ConnectionOf("postgres"));
                await connection.OpenAsync();
                return;
            }
            catch (NpgsqlException) when (Stopwatch.GetElapsedTime(began) < Patience && !_server.HasExited)
            {
                await Task.Delay(100);
            }
        }
    }

    /// <summary>A new, empty database.</summary>
    /// <returns>Its connection string.</returns>
    public string NewDatabase()
    {
        string name = $"hadal_{Interlocked.Increment(ref _databases)}";
        using var connection = new NpgsqlConnection(ConnectionOf("postgres"));
        connection.Open();
        using NpgsqlCommand command = connection.CreateCommand();
        command.CommandText = $"CREATE DATABASE {name}";
        command.ExecuteNonQuery();
        return ConnectionOf(name);
    }

    public async ValueTask DisposeAsync()
    {
        NpgsqlConnection.ClearAllPools();
        if (_server is { HasExited: false })
        {
            await RunAsync("kill", "-INT", _server.Id.ToString()); // a fast shutdown
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            try
            {
                await _server.WaitForExitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                _server.Kill(entireProcessTree: true);
            }
        }

        _server?.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    string ConnectionOf(string database) => $"Host=127.0.0.1;Port={_port};Database={database};Username=hadal;Maximum Pool Size=20;Timeout=60";

    static Process Start(string program, params string[] arguments)
    {
        // setpriv becomes the program, so that signals reach it.
        string[] before = Environment.IsPrivilegedProcess ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : [];
        string[] line = [.. before, program, .. arguments];
        var start = new ProcessStartInfo(line[0], line[1..]) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false, WorkingDirectory = "/" };
        start.Environment["LC_ALL"] = "C.UTF-8";
        Process process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    static async Task RunAsync(string program, params string[] arguments)
    {
        using Process process = Process.Start(program, arguments);
        await EndAsync(process);
    }

    static async Task EndAsync(Process process)
    {
        using var limit = new CancellationTokenSource(Patience);
        await process.WaitForExitAsync(limit.Token);
        Assert.Equal(0, process.ExitCode);
    }
}
